"""EdgeConv of two layers against every edge written out, in float64 with the same neighbours."""
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jobs.bench.textbook import edges, neighbours
from jobs.models import maximum
from jobs.models.batchnorm import BatchNorm
from jobs.models.edgeconv import EdgeConv
from jobs.models.edgeconv_two import two_edge_layers
from tests.jobs.models.edges import assert_equal_gradients


class ObviousTwoLayers(nn.Module):
    """Every edge through both layers, then the maximum."""

    def __init__(self, channels: int, hidden: int, out_channels: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(2 * channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden))
        self.second = nn.Sequential(nn.Conv2d(hidden, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))

    def forward(self, x_BNC: Tensor, idx_BNK: Tensor) -> Tensor:
        return two_layers_edge_by_edge(x_BNC, idx_BNK, self.first, self.second)


def two_layers_edge_by_edge(x_BNC: Tensor, idx_BNK: Tensor, first: nn.Sequential, second: nn.Sequential) -> Tensor:
    hidden_BHNK = F.leaky_relu(first(edges(x_BNC, idx_BNK)), 0.2)
    return F.leaky_relu(second(hidden_BHNK), 0.2).max(3).values.transpose(1, 2)


class TwoLayers(nn.Module):
    """Ours, with the names of the obvious one."""

    def __init__(self, channels: int, hidden: int, out_channels: int) -> None:
        super().__init__()
        self.first = EdgeConv(channels, hidden)
        self.second = nn.Sequential(nn.Conv2d(hidden, out_channels, 1, bias=False), BatchNorm(out_channels))

    def forward(self, x_BNC: Tensor, idx_BNK: Tensor) -> Tensor:
        return two_edge_layers(x_BNC, idx_BNK, self.first, self.second)


def pair(channels: int, hidden: int, out_channels: int) -> tuple[TwoLayers, ObviousTwoLayers]:
    """Both with the same parameters; scales of both signs in both layers."""
    ours, obvious = TwoLayers(channels, hidden, out_channels).double(), ObviousTwoLayers(channels, hidden, out_channels).double()
    random_norms(ours)
    with torch.no_grad():
        for name in ("first.1.weight", "second.1.weight"):
            ours.get_parameter(name)[:2] = torch.tensor([-1.0, 0.7])
    obvious.load_state_dict(ours.state_dict())
    return ours, obvious


def random_norms(model: nn.Module) -> None:
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, BatchNorm):
                module.weight.normal_()
                module.bias.normal_()


def assert_equal_step(
    ours: nn.Module, obvious: nn.Module, x_BNC: Tensor, idx_BNK: Tensor, tied: tuple[int, ...] = (0,), atol: float = 1e-11
) -> None:
    """Input gradients are compared with those of the points `tied` of each cloud added up."""
    x_ours, x_obvious = x_BNC.clone().requires_grad_(), x_BNC.clone().requires_grad_()
    found, expected = ours(x_ours, idx_BNK), obvious(x_obvious, idx_BNK)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    slope = torch.randn_like(found)
    for model in (ours, obvious):
        model.zero_grad()
    (found * slope).sum().backward()
    (expected * slope).sum().backward()
    assert_equal_gradients(ours, obvious, atol=atol)
    assert x_ours.grad is not None and x_obvious.grad is not None
    alone = [point for point in range(x_BNC.shape[1]) if point not in tied]
    for pick in (lambda grad: grad[:, alone], lambda grad: grad[:, list(tied)].sum(1)):
        torch.testing.assert_close(pick(x_ours.grad), pick(x_obvious.grad), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("count", "points", "k", "channels", "hidden", "out_channels"),
    [(2, 12, 4, 3, 8, 8), (3, 40, 10, 16, 16, 12), (1, 9, 9, 8, 6, 24), (2, 5, 1, 3, 4, 5), (1, 300, 260, 3, 4, 6)],
)
def test_values_gradients_and_running_statistics_equal_the_edges_written_out(
    training: bool, count: int, points: int, k: int, channels: int, hidden: int, out_channels: int
) -> None:
    torch.manual_seed(points)
    ours, obvious = pair(channels, hidden, out_channels)
    for step in range(3):
        x_BNC = torch.randn(count, points, channels, dtype=torch.float64) + step
        if step:
            ours.train(training), obvious.train(training)
        assert_equal_step(ours, obvious, x_BNC, neighbours(x_BNC, k))


def test_random_graphs_with_repeated_and_unused_neighbours_are_right_too() -> None:
    torch.manual_seed(0)
    ours, obvious = pair(5, 7, 6)
    idx_BNK = torch.randint(0, 10, (3, 20, 6))  # points 10 to 19 are nobody's neighbours
    assert_equal_step(ours, obvious, torch.randn(3, 20, 5, dtype=torch.float64), idx_BNK)


@pytest.mark.parametrize("piece_bytes", [1, 1500])
def test_small_pieces_change_nothing(piece_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    ours, obvious = pair(3, 8, 10)
    x_BNC = torch.randn(3, 21, 3, dtype=torch.float64) + 5 * torch.arange(3)[:, None, None]  # pieces whose means lie far apart
    monkeypatch.setattr(maximum, "PIECE_BYTES", piece_bytes)
    assert_equal_step(ours, obvious, x_BNC, neighbours(x_BNC, 4))


@pytest.mark.parametrize("training", [True, False])
def test_at_a_scale_of_zero_the_first_neighbour_gets_the_gradient(training: bool) -> None:
    torch.manual_seed(2)
    ours, obvious = pair(4, 6, 5)
    with torch.no_grad():
        for model in (ours, obvious):
            model.get_parameter("second.1.weight")[2] = 0.0
            model.get_parameter("first.1.weight")[3] = 0.0
    ours.train(training), obvious.train(training)
    x_BNC = torch.randn(2, 15, 4, dtype=torch.float64)
    assert_equal_step(ours, obvious, x_BNC, neighbours(x_BNC, 4))


def test_duplicate_points_share_one_gradient_between_them() -> None:
    torch.manual_seed(3)
    ours, obvious = pair(3, 8, 7)
    x_BNC = torch.randn(2, 16, 3, dtype=torch.float64)
    x_BNC[:, 10:] = x_BNC[:, :1]
    assert_equal_step(ours, obvious, x_BNC, neighbours(x_BNC, 5), tied=(0, *range(10, 16)))


def test_a_cloud_of_equal_points_is_right_alone_and_beside_others() -> None:
    torch.manual_seed(4)
    ours, obvious = pair(3, 8, 7)
    x_BNC = torch.randn(2, 12, 3, dtype=torch.float64)
    x_BNC[1] = x_BNC[1, :1]
    idx_BNK = neighbours(x_BNC, 5)
    assert_equal_step(ours, obvious, x_BNC[1:], idx_BNK[1:], tied=tuple(range(12)), atol=1e-9)  # no variance: rounding is multiplied by 316
    x = [x_BNC.clone().requires_grad_() for _ in range(2)]
    for model, value in ((ours, x[0]), (obvious, x[1])):
        model.zero_grad()
        model(value, idx_BNK).sin().sum().backward()
    assert_equal_gradients(ours, obvious)
    assert x[0].grad is not None and x[1].grad is not None
    torch.testing.assert_close(x[0].grad[0], x[1].grad[0], rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(x[0].grad[1].sum(0), x[1].grad[1].sum(0), rtol=1e-9, atol=1e-10)


def test_a_step_without_gradients_moves_the_statistics_and_gives_the_same_values() -> None:
    torch.manual_seed(5)
    ours, obvious = pair(4, 6, 9)
    x_BNC = torch.randn(2, 12, 4, dtype=torch.float64)
    idx_BNK = neighbours(x_BNC, 3)
    for training in (True, False):
        ours.train(training), obvious.train(training)
        with torch.inference_mode():
            torch.testing.assert_close(ours(x_BNC, idx_BNK), obvious(x_BNC, idx_BNK), rtol=1e-12, atol=1e-12)
    for name, value in obvious.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), value, rtol=1e-12, atol=1e-12)


def test_hidden_values_far_from_zero_keep_their_variance_in_float32() -> None:
    torch.manual_seed(6)
    ours, obvious = TwoLayers(3, 8, 12), ObviousTwoLayers(3, 8, 12).double()
    with torch.no_grad():
        ours.get_parameter("first.1.bias").fill_(1000.0)
    obvious.load_state_dict(ours.state_dict())
    x_BNC = torch.randn(2, 40, 3)
    idx_BNK = neighbours(x_BNC, 5)
    torch.testing.assert_close(ours(x_BNC, idx_BNK).double(), obvious(x_BNC.double(), idx_BNK), rtol=1e-3, atol=1e-3)


def test_nothing_as_large_as_the_edges_is_kept_for_the_way_back() -> None:
    torch.manual_seed(7)
    ours, _ = pair(6, 8, 10)
    rows, k = 60, 20
    kept: list[Tensor] = []
    x_BNC = torch.randn(2, 30, 6, dtype=torch.float64, requires_grad=True)

    def keep(value: Tensor) -> Tensor:
        kept.append(value)
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        ours(x_BNC, neighbours(x_BNC.detach(), k))
    assert len(kept) > 10
    assert max(value.numel() for value in kept if value.is_floating_point()) <= rows * 12  # both ends of an edge's 6 channels
    assert max(value.numel() for value in kept) <= rows * k


def test_it_computes_in_float32_under_bf16_autocast() -> None:
    torch.manual_seed(8)
    ours = TwoLayers(3, 8, 6)
    x_BNC = torch.randn(2, 12, 3)
    idx_BNK = neighbours(x_BNC, 4)
    with torch.autocast("cpu", torch.bfloat16):
        found = ours(x_BNC, idx_BNK)
    assert torch.equal(found, ours(x_BNC, idx_BNK))


def test_a_model_that_diverged_answers_nan_on_the_way_back_too() -> None:
    ours = TwoLayers(3, 8, 6)
    with torch.no_grad():
        ours.get_parameter("second.0.weight").fill_(float("nan"))
    x_BNC = torch.randn(2, 12, 3)
    found = ours(x_BNC, neighbours(x_BNC, 4))
    assert found.isnan().all()
    found.sum().backward()
    assert ours.get_parameter("first.0.weight").grad.isnan().all()  # type: ignore[union-attr]


def test_a_single_edge_in_training_is_refused() -> None:
    with pytest.raises(ValueError, match="larger batch"):
        TwoLayers(3, 8, 6)(torch.randn(1, 1, 3), torch.zeros(1, 1, 1, dtype=torch.int64))
