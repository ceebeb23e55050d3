"""DGCNN against one made of edge-by-edge layers, and against the published answers."""
from functools import partial

import pytest
import torch

from jobs.bench.textbook import TextbookDGCNN
from jobs.models.copies import without_copies
from jobs.models.dgcnn import DGCNN
from jobs.models.projection import inv_head
from tests.jobs.models.published import published


def with_dropped_points(points_BNC: torch.Tensor, dropped: tuple[int, ...]) -> torch.Tensor:
    """The last so many points of each cloud moved onto its first, as the augmentation does."""
    points_BNC = points_BNC.clone()
    for cloud, count in enumerate(dropped):
        points_BNC[cloud, points_BNC.shape[1] - count :] = points_BNC[cloud, 0]
    return points_BNC


@pytest.mark.parametrize("dropped", [(0, 0, 0, 0), (3, 20, 0, 8), (19, 19, 20, 21), (23, 5, 5, 1)], ids=str)
def test_a_training_step_in_float64_equals_the_edge_by_edge_network(dropped: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    ours, obvious = DGCNN(5).double(), TextbookDGCNN(5).double()
    obvious.load_state_dict(ours.state_dict())
    points_BNC = with_dropped_points(torch.randn(4, 24, 3, dtype=torch.float64), dropped)
    assert len(without_copies(points_BNC)[0]) == 4 * 24 - sum(dropped)
    found, expected = ours(points_BNC), obvious(points_BNC)
    assert found.shape == (4, DGCNN.feature_dim)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
    slope = torch.randn_like(found)
    (found * slope).sum().backward()
    (expected * slope).sum().backward()
    for (name, a), b in zip(ours.named_parameters(), obvious.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-10, atol=1e-10, msg=partial("{}: {}".format, name))
    for name, value in obvious.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(points_BNC), obvious.eval()(points_BNC), rtol=1e-9, atol=1e-11)


def test_it_has_the_published_names_and_gives_the_published_features_and_projections() -> None:
    state, answers = published("dgcnn_cls")
    encoder, head = DGCNN(20).eval(), inv_head(2048).eval()
    encoder.load_state_dict({name: value for name, value in state.items() if not name.startswith(("bn", "inv_head"))})
    head.load_state_dict({name.removeprefix("inv_head."): value for name, value in state.items() if name.startswith("inv_head")})
    with torch.no_grad():
        feat_BD = encoder(torch.from_numpy(answers["points"]).transpose(1, 2))
        z_BE = head(feat_BD)
    torch.testing.assert_close(feat_BD, torch.from_numpy(answers["feature"]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(z_BE, torch.from_numpy(answers["projection"]), rtol=1e-4, atol=1e-4)


def test_a_step_under_bf16_autocast_stays_near_float32() -> None:
    torch.manual_seed(1)
    model = DGCNN(4)
    points_BNC = torch.randn(4, 32, 3)
    exact = model(points_BNC)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(points_BNC)
    torch.testing.assert_close(found.float(), exact, rtol=0.05, atol=0.1)
    found.float().square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name


def test_clouds_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[B, N, 3\], not \[2, 3, 32\]"):
        DGCNN(4)(torch.randn(2, 3, 32))
    with pytest.raises(ValueError, match="20 neighbours for clouds of 16 points"):
        DGCNN(20)(torch.randn(2, 16, 3))
