"""EdgeConv without edges against the edge-by-edge layer, in float64 with the same neighbours forced."""
import copy

import pytest
import torch
from torch import Tensor

from jobs.bench.textbook import EdgeByEdge
from jobs.models import maximum
from jobs.models.edgeconv import EdgeConv
from tests.jobs.models.edges import LargestStorage, assert_equal_gradients, neighbours_by_sorting


def pair_of_layers(channels: int, out_channels: int) -> tuple[EdgeConv, EdgeByEdge]:
    """Both with the same parameters; scales of both signs."""
    fast, obvious = EdgeConv(channels, out_channels).double(), EdgeByEdge(channels, out_channels).double()
    with torch.no_grad():
        fast.get_parameter("1.weight").normal_()
        fast.get_parameter("1.bias").normal_()
    obvious.load_state_dict(fast.state_dict())
    return fast, obvious


def clouds(count: int, points: int, channels: int) -> Tensor:
    return torch.randn(count, points, channels, dtype=torch.float64)


def assert_equal_step(fast: EdgeConv, obvious: EdgeByEdge, x_BNC: Tensor, idx_BNK: Tensor, input_gradients: bool = True) -> None:
    x_fast, x_obvious = x_BNC.clone().requires_grad_(), x_BNC.clone().requires_grad_()
    y_fast, y_obvious = fast(x_fast, idx_BNK), obvious(x_obvious, idx_BNK)
    torch.testing.assert_close(y_fast, y_obvious, rtol=1e-12, atol=1e-12)
    slope = torch.randn_like(y_fast)
    (y_fast * slope).sum().backward()
    (y_obvious * slope).sum().backward()
    assert_equal_gradients(fast, obvious)
    if input_gradients:
        torch.testing.assert_close(x_fast.grad, x_obvious.grad, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(
    ("count", "points", "k", "channels", "out_channels"), [(2, 12, 4, 3, 8), (3, 40, 10, 16, 16), (1, 9, 9, 8, 24), (2, 5, 1, 3, 4)]
)
def test_values_gradients_and_running_statistics_equal_the_edge_by_edge_layer(
    count: int, points: int, k: int, channels: int, out_channels: int
) -> None:
    torch.manual_seed(points)
    fast, obvious = pair_of_layers(channels, out_channels)
    assert len(set(fast.get_parameter("1.weight").sign().tolist())) == 2, "scales of both signs"
    for _ in range(2):
        x_BNC = clouds(count, points, channels)
        fast.zero_grad()
        obvious.zero_grad()
        assert_equal_step(fast, obvious, x_BNC, neighbours_by_sorting(x_BNC, k))


def test_random_graphs_with_repeated_and_unused_neighbours_are_right_too() -> None:
    torch.manual_seed(0)
    fast, obvious = pair_of_layers(5, 7)
    idx_BNK = torch.randint(0, 10, (3, 20, 6))  # points 10 to 19 are nobody's neighbours
    assert_equal_step(fast, obvious, clouds(3, 20, 5), idx_BNK)


@pytest.mark.parametrize(("own_scale", "width"), [(1.0, 1.0), (0.1, 0.1), (0.1, 0.01), (0.0, 0.1)])
def test_float32_stays_within_1e_4_of_float64_also_where_neighbours_lie_close(own_scale: float, width: float) -> None:
    """`own_scale` scales the weights of x_i: at 0 an edge is P (x_j - x_i), whose variance is that of clusters `width` wide."""
    torch.manual_seed(7)
    fast, obvious = pair_of_layers(3, 64)
    with torch.no_grad():
        for layer in (fast, obvious):
            layer.get_parameter("0.weight")[:, 3:].mul_(own_scale)
    centres_BNC = torch.randn(2, 16, 1, 3, dtype=torch.float64).expand(2, 16, 16, 3).reshape(2, 256, 3)
    x_BNC = (centres_BNC + width * clouds(2, 256, 3)).float()
    idx_BNK = neighbours_by_sorting(x_BNC, 10)
    with torch.no_grad():
        found, exact = copy.deepcopy(fast).float()(x_BNC, idx_BNK), obvious(x_BNC.double(), idx_BNK)
    assert float((found - exact).abs().max()) < 1e-4


def test_nothing_of_the_size_of_all_edges_is_ever_allocated() -> None:
    torch.manual_seed(8)
    clouds_, points, k, channels = 4, 512, 20, 64
    x_BNC = torch.randn(clouds_, points, channels, requires_grad=True)
    idx_BNK = neighbours_by_sorting(x_BNC.detach(), k)
    edges_bytes = clouds_ * points * k * channels * 4
    sizes = []
    for layer in (EdgeConv(channels, channels), EdgeByEdge(channels, channels)):
        with LargestStorage() as storage:
            layer(x_BNC, idx_BNK).square().sum().backward()
        sizes.append(storage.largest)
    assert sizes[0] < edges_bytes / 4
    assert sizes[1] >= edges_bytes, "the measure sees what the edge-by-edge layer allocates"


def test_another_number_of_channels_is_refused() -> None:
    layer = EdgeConv(3, 8)
    for channels in (2, 4, 5):
        with pytest.raises(ValueError, match=f"takes points of 3 channels, not of {channels}"):
            layer(torch.randn(2, 12, channels), torch.zeros(2, 12, 4, dtype=torch.int64))


def test_features_far_from_zero_lose_no_precision() -> None:
    torch.manual_seed(1)
    fast, obvious = pair_of_layers(6, 8)
    x_BNC = clouds(2, 30, 6) + 1e4
    idx_BNK = neighbours_by_sorting(x_BNC, 5)
    with torch.no_grad():
        exact = obvious(x_BNC, idx_BNK)
        found = copy.deepcopy(fast).float()(x_BNC.float(), idx_BNK)
    # float32 holds 1e4 to 1e-3, and the edge itself needs x_j - x_i: what is left is the input's own rounding.
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=5e-2)


def test_a_scale_of_zero_still_gets_its_gradient() -> None:
    torch.manual_seed(2)
    fast, obvious = pair_of_layers(4, 6)
    with torch.no_grad():
        fast.get_parameter("1.weight")[2] = obvious.get_parameter("1.weight")[2] = 0.0
    x_BNC = clouds(2, 15, 4)
    assert_equal_step(fast, obvious, x_BNC, neighbours_by_sorting(x_BNC, 4))


def test_duplicate_points_share_one_gradient_between_them() -> None:
    torch.manual_seed(3)
    fast, obvious = pair_of_layers(3, 8)
    x_BNC = clouds(2, 16, 3)
    x_BNC[:, 10:] = x_BNC[:, :1]
    idx_BNK = neighbours_by_sorting(x_BNC, 5)
    assert_equal_step(fast, obvious, x_BNC, idx_BNK, input_gradients=False)
    sums = []
    for layer in (fast, obvious):
        x = x_BNC.clone().requires_grad_()
        (layer(x, idx_BNK).sin() ** 2).sum().backward()
        assert x.grad is not None
        sums.append(torch.cat([x.grad[:, 1:10], x.grad[:, [0, *range(10, 16)]].sum(1, keepdim=True)], 1))
    torch.testing.assert_close(*sums, rtol=1e-9, atol=1e-10)


def test_evaluation_uses_the_running_statistics() -> None:
    torch.manual_seed(4)
    fast, obvious = pair_of_layers(4, 6)
    x_BNC = clouds(2, 12, 4)
    idx_BNK = neighbours_by_sorting(x_BNC, 3)
    for layer in (fast, obvious):
        layer(x_BNC * 2 + 1, idx_BNK)
        layer.eval()
    with torch.no_grad():
        torch.testing.assert_close(fast(x_BNC, idx_BNK), obvious(x_BNC, idx_BNK))
    assert_equal_step(fast, obvious, x_BNC, idx_BNK)


def test_small_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(5)
    monkeypatch.setattr(maximum, "PIECE_BYTES", 1000)
    fast, obvious = pair_of_layers(3, 8)
    x_BNC = clouds(3, 21, 3)
    assert_equal_step(fast, obvious, x_BNC, neighbours_by_sorting(x_BNC, 4))


def test_it_computes_in_float32_under_bf16_autocast() -> None:
    torch.manual_seed(6)
    fast = EdgeConv(3, 8)
    x_BNC = torch.randn(2, 12, 3)
    idx_BNK = neighbours_by_sorting(x_BNC, 4)
    with torch.autocast("cpu", torch.bfloat16):
        found = fast(x_BNC, idx_BNK)
    assert torch.equal(found, fast(x_BNC, idx_BNK))


def test_the_names_are_the_published_ones() -> None:
    shapes = {name: list(value.shape) for name, value in EdgeConv(3, 64).state_dict().items()}
    norm = {f"1.{name}": [64] for name in ("weight", "bias", "running_mean", "running_var")}
    assert shapes == {"0.weight": [64, 6, 1, 1], **norm, "1.num_batches_tracked": []}
