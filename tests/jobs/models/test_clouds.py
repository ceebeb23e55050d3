"""Every encoder refuses what it cannot answer, before anything of it moves."""
import pytest
import torch
from torch import nn

from jobs.models.tables import BACKBONES, build_backbone

POINTS = 256  # rpc takes no fewer


@pytest.fixture(params=sorted(BACKBONES), scope="module")
def encoder(request: pytest.FixtureRequest) -> nn.Module:
    return build_backbone(request.param, k=4).train()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, POINTS, 4), r"takes clouds \[B, N, 3\], not \[2, 256, 4\]"),
        ((POINTS, 3), r"takes clouds \[B, N, 3\], not \[256, 3\]"),
        ((0, POINTS, 3), "was given 0 clouds of 256 points"),
        ((2, 0, 3), "was given 2 clouds of 0 points"),
    ],
)
def test_clouds_of_another_shape_and_empty_ones_are_refused(encoder: nn.Module, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encoder(torch.randn(shape))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_refused_and_leaves_the_running_statistics_alone(encoder: nn.Module, value: float) -> None:
    points_BNC = torch.randn(3, POINTS, 3)
    points_BNC[1, 7, 2] = value
    before = {name: buffer.clone() for name, buffer in encoder.named_buffers()}
    with pytest.raises(ValueError, match="cloud 1 of the batch holds NaN or infinite values"):
        encoder(points_BNC)
    assert all(torch.equal(buffer, before[name]) for name, buffer in encoder.named_buffers())


def test_one_point_is_too_few_to_train_on(encoder: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"k is 4 neighbours|no variance|too small"):
        encoder(torch.randn(1, 1, 3))
