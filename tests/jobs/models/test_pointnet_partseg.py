"""PointNet's part segmentation encoder against PyTorch's layers and on several ranks; its published answers are its head's."""
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from jobs.models.pointnet_partseg import PointNetPartSeg
from tests.jobs.models.ranks import Answer, assert_ranks_equal_one_process, own_share
from tests.jobs.models.test_pointnet_transform import ObviousTransform, random_last_layer


class Obvious(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stn, self.fstn = ObviousTransform(3), ObviousTransform(128)
        widths = [(3, 64), (64, 128), (128, 128), (128, 512), (512, 2048)]
        self.conv1, self.conv2, self.conv3, self.conv4, self.conv5 = (nn.Conv1d(a, b, 1, bias=False) for a, b in widths)
        self.bn1, self.bn2, self.bn3, self.bn4, self.bn5 = (nn.BatchNorm1d(width) for _, width in widths)

    def forward(self, points_BNC: Tensor) -> tuple[Tensor, Tensor]:
        one = self.bn1(self.conv1(self.stn(points_BNC).transpose(1, 2))).relu()
        two = self.bn2(self.conv2(one)).relu()
        three = self.bn3(self.conv3(two)).relu()
        four = self.bn4(self.conv4(self.fstn(three.transpose(1, 2)).transpose(1, 2))).relu()
        five = self.bn5(self.conv5(four))
        return five.max(2).values, torch.cat([one, two, three, four, five], 1).transpose(1, 2)


def encoder() -> PointNetPartSeg:
    """Its transforms away from the identity."""
    model = PointNetPartSeg()
    random_last_layer(model.stn)
    random_last_layer(model.fstn)
    return model


@pytest.mark.parametrize("per_point", [True, False])
def test_a_training_step_equals_pytorchs_chain(per_point: bool) -> None:
    torch.manual_seed(0)
    ours, obvious = encoder().double(), Obvious().double()
    obvious.load_state_dict(ours.state_dict())
    points_BNC = torch.randn(3, 20, 3, dtype=torch.float64)
    expected, expected_local = obvious(points_BNC)
    found, local = ours.per_point(points_BNC) if per_point else (ours(points_BNC), None)
    assert found.shape == (3, PointNetPartSeg.feature_dim)
    torch.testing.assert_close(found, expected)
    slope = torch.randn_like(found)
    (found * slope).sum().backward(retain_graph=True)
    (expected * slope).sum().backward(retain_graph=True)
    if local is not None:
        assert local.shape == (3, 20, PointNetPartSeg.local_dim)
        torch.testing.assert_close(local, expected_local)
        slope = torch.randn_like(local)
        (local * slope).sum().backward()
        (expected_local * slope).sum().backward()
    gradients, statistics = {name: value.grad for name, value in obvious.named_parameters()}, obvious.state_dict()
    # A bias in front of a BatchNorm has a gradient of zero, for which rounding stands: of the size of what cancels.
    near = 1e-12 * max(float(value.abs().max()) for value in gradients.values() if value is not None)
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-7, atol=near, msg=partial("{}: {}".format, name))
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, statistics[name], msg=partial("{}: {}".format, name))
    ours.eval(), obvious.eval()
    with torch.no_grad():
        found = ours.per_point(points_BNC)[0] if per_point else ours(points_BNC)
        torch.testing.assert_close(found, obvious(points_BNC)[0])


def test_a_step_under_bf16_autocast_gives_finite_gradients_on_every_parameter() -> None:
    torch.manual_seed(1)
    model = encoder()
    points_BNC = torch.randn(4, 32, 3)
    for answer in (model, lambda points_BNC: model.per_point(points_BNC)[0]):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            feat_BD = answer(points_BNC)
        assert feat_BD.dtype == torch.float32
        feat_BD.square().mean().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
            cancelled = name.endswith("bias") and ("conv" in name or "fc1" in name or "fc2" in name)  # by the batch's mean
            assert cancelled or parameter.grad.abs().sum() > 0, name


def test_every_parameter_of_a_new_model_gets_a_gradient() -> None:
    model = PointNetPartSeg()
    model(torch.randn(2, 16, 3)).sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_clouds_of_another_shape_and_a_single_one_in_training_are_refused() -> None:
    model = PointNetPartSeg()
    for answer in (model, model.per_point):
        with pytest.raises(ValueError, match=r"\[B, N, 3\], not \[2, 3, 32\]"):
            answer(torch.randn(2, 3, 32))
    with pytest.raises(ValueError, match="larger batch"):
        model(torch.randn(1, 32, 3))
    assert model.eval()(torch.randn(1, 32, 3)).shape == (1, 2048)


CLOUDS = 5  # 3 + 2 over two ranks, 2 + 2 + 1 over three


def data_parallel_step() -> Answer:
    """Gradients after DistributedDataParallel, its mean undone by the world size."""
    torch.manual_seed(2)
    share, world = own_share(CLOUDS), dist.get_world_size() if dist.is_initialized() else 1
    model = encoder().double()
    points_BNC = torch.randn(CLOUDS, 20, 3, dtype=torch.float64) + torch.arange(CLOUDS)[:, None, None]
    step = nn.parallel.DistributedDataParallel(model) if world > 1 else model
    feat_BD = step(points_BNC[share])
    (feat_BD.sin().sum() * world / 10_000).backward()
    gradients = {f"same/{name}": value.grad for name, value in model.named_parameters() if value.grad is not None}
    return {"rows/features": feat_BD.detach(), **gradients, **{f"same/{name}": value for name, value in model.named_buffers()}}


@pytest.mark.soak
def test_a_data_parallel_step_is_the_same_over_one_two_and_three_processes(tmp_path: Path) -> None:
    assert_ranks_equal_one_process(data_parallel_step, tmp_path, atol=1e-9)
