"""EdgeConv of two layers and the segmentation encoders on two and three gloo processes with uneven shares equal one process."""
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from jobs.bench.textbook import neighbours
from jobs.models.dgcnn_partseg import DGCNNPartSeg
from jobs.models.dgcnn_semseg import DGCNNSemSeg
from tests.jobs.models.ranks import Answer, assert_ranks_equal_one_process, own_share
from tests.jobs.models.test_edgeconv_two import TwoLayers, random_norms
from tests.jobs.models.test_spatial_transform import random_matrix

CLOUDS = 5  # 3 + 2 over two ranks, 2 + 2 + 1 over three


def two_layers() -> Answer:
    torch.manual_seed(0)
    share, model = own_share(CLOUDS), TwoLayers(4, 6, 8).double()
    random_norms(model)
    with torch.no_grad():
        model.get_parameter("second.1.weight")[:3] = torch.tensor([-1.0, 0.0, 0.7])
    clouds_BNC = torch.randn(CLOUDS, 14, 4, dtype=torch.float64) + torch.arange(CLOUDS)[:, None, None]  # means that lie far apart
    slope_BNF = torch.randn(CLOUDS, 14, 8, dtype=torch.float64)
    own_BNC = clouds_BNC[share].clone().requires_grad_()
    out_BNF = model(own_BNC, neighbours(clouds_BNC, 5)[share])
    (out_BNF * slope_BNF[share]).sum().backward()
    assert own_BNC.grad is not None
    answer = {"rows/out": out_BNF.detach(), "rows/input gradient": own_BNC.grad}
    answer |= {f"sum/{name}": value.grad for name, value in model.named_parameters() if value.grad is not None}
    return answer | {f"same/{name}": value for name, value in model.named_buffers()}


def data_parallel_steps() -> Answer:
    """Gradients of both encoders after DistributedDataParallel, its mean undone by the world size."""
    torch.manual_seed(1)
    share, world = own_share(CLOUDS), dist.get_world_size() if dist.is_initialized() else 1
    parts, scenes = DGCNNPartSeg(4).double(), DGCNNSemSeg(4, channels=9).double()
    random_matrix(parts.transform_net)
    answer: Answer = {}
    for model, channels in ((parts, 3), (scenes, 9)):
        random_norms(model)
        points_BNC = torch.randn(CLOUDS, 16, channels, dtype=torch.float64) + torch.arange(CLOUDS)[:, None, None]
        slope_BD = torch.randn(CLOUDS, 1024, dtype=torch.float64) / 1000
        step = nn.parallel.DistributedDataParallel(model) if world > 1 else model
        feat_BD = step(points_BNC[share])
        ((feat_BD * slope_BD[share]).sum() * world).backward()
        answer[f"rows/{channels} features"] = feat_BD.detach()
        answer |= {f"same/{channels} {name}": value.grad for name, value in model.named_parameters() if value.grad is not None}
        answer |= {f"same/{channels} {name}": value for name, value in model.named_buffers()}
    return answer


def layers_and_steps() -> Answer:
    return two_layers() | data_parallel_steps()


def test_layers_and_data_parallel_steps_are_the_same_over_one_two_and_three_processes(tmp_path: Path) -> None:
    assert len(layers_and_steps()) > 100
    assert_ranks_equal_one_process(layers_and_steps, tmp_path, atol=1e-9)
