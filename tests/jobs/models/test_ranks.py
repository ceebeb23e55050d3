"""Layers on two and three gloo processes with uneven shares equal one process, to the last digits of float64."""
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from jobs.losses.objective import pretraining_losses
from jobs.models.batchnorm import BatchNorm
from jobs.models.crossmodal import CrossModal
from jobs.models.edgeconv import EdgeConv
from jobs.models.pooling import pool_points
from jobs.models.projection import image_head
from tests.jobs.models.edges import neighbours_by_sorting
from tests.jobs.models.ranks import Answer, assert_ranks_equal_one_process, own_share

ROWS = 5  # 3 + 2 over two ranks, 2 + 2 + 1 over three


def layers() -> Answer:
    torch.manual_seed(0)
    answer: Answer = {}
    share = own_share(ROWS)
    images = torch.randn(ROWS, 3, 2, 2, dtype=torch.float64) + 10
    images[-1] += 50  # ranks whose means lie far apart
    clouds = torch.randn(ROWS, 14, 4, dtype=torch.float64) + torch.arange(ROWS)[:, None, None]
    idx_BNK = neighbours_by_sorting(clouds, 4)
    rows, wide = torch.randn(ROWS, 14, 6, dtype=torch.float64), torch.randn(ROWS, 14, 6, dtype=torch.float64)
    norm, edge, pool = BatchNorm(3).double(), EdgeConv(4, 6).double(), BatchNorm(6).double()
    with torch.no_grad():
        for layer, prefix in ((norm, ""), (edge, "1."), (pool, "")):
            layer.get_parameter(f"{prefix}weight").normal_()
            layer.get_parameter(f"{prefix}bias").normal_()
    inputs = {"norm": images, "edge": clouds, "pool": rows}
    inputs = {name: value[share].clone().requires_grad_() for name, value in inputs.items()}
    outputs = {"norm": norm(inputs["norm"]), "edge": edge(inputs["edge"], idx_BNK[share])}
    outputs["pool"] = torch.stack(pool_points(inputs["pool"], pool, 0.2), 1)
    slopes = {"norm": images.sin(), "edge": wide, "pool": wide[:, :2]}
    torch.stack([(outputs[name] * slopes[name][share]).sum() for name in outputs]).sum().backward()
    for name, layer in (("norm", norm), ("edge", edge), ("pool", pool)):
        answer[f"rows/{name}"] = outputs[name].detach()
        gradient = inputs[name].grad
        assert gradient is not None
        answer[f"rows/{name} input gradient"] = gradient
        answer |= {f"sum/{name} {part}": value.grad for part, value in layer.named_parameters() if value.grad is not None}
        answer |= {f"same/{name} {part}": value for part, value in layer.named_buffers()}
    return answer


def small_tower(channels: int) -> nn.Module:
    """In place of a ResNet, whose gradients would take most of the test's time to carry."""
    return nn.Sequential(nn.Conv2d(channels, 8, 3, 2), BatchNorm(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())


def data_parallel_step() -> Answer:
    """Gradients of the whole model after DistributedDataParallel, its mean undone by the world size."""
    torch.manual_seed(1)
    model: nn.Module = CrossModal("dgcnn", 4, "resnet18", True)
    model.rgb, model.rgb_head, model.grey, model.grey_head = small_tower(3), image_head(32), small_tower(1), image_head(32)
    model.double()
    points_2RNC = torch.randn(2, ROWS, 16, 3, dtype=torch.float64)
    points_2RNC[:, 0, 9:] = points_2RNC[:, 0, :1]  # dropped points, carried once with their number, on one rank alone
    rgb, grey = torch.randn(ROWS, 3, 16, 16, dtype=torch.float64), torch.randn(ROWS, 1, 16, 16, dtype=torch.float64)
    share, world = own_share(ROWS), dist.get_world_size() if dist.is_initialized() else 1
    step = nn.parallel.DistributedDataParallel(model) if world > 1 else model
    z_points, z_rgb, z_grey = step(points_2RNC[:, share].flatten(0, 1), rgb[share], grey[share])
    ids = torch.arange(ROWS)[share]
    losses = pretraining_losses(z_points, z_rgb, z_grey, cross="crossnet-con", temperature=0.2, same_sample_negatives=False, ids_B=ids)
    (losses.sum() * world).backward()
    gradients = {f"same/{name}": parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    buffers = {f"same/{name}": buffer for name, buffer in model.named_buffers()}
    return {"sum/losses": losses.detach(), **gradients, **buffers}


def layers_and_step() -> Answer:
    return layers() | data_parallel_step()


def test_layers_and_a_data_parallel_step_are_the_same_over_one_two_and_three_processes(tmp_path: Path) -> None:
    expected = layers_and_step()
    assert len(expected) > 80
    assert_ranks_equal_one_process(layers_and_step, tmp_path, atol=1e-10)
