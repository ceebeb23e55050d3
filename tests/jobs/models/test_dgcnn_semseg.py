"""DGCNN's semantic segmentation encoder against one written edge by edge, and against the published answers."""
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jobs.bench.textbook import EdgeByEdge, neighbours
from jobs.models.dgcnn_semseg import DGCNNSemSeg, widen_to_nine_channels
from jobs.models.projection import inv_head
from jobs.models.published import fit
from tests.jobs.models.edges import assert_equal_gradients
from tests.jobs.models.published import published
from tests.jobs.models.test_edgeconv_two import random_norms, two_layers_edge_by_edge


class ObviousSemSeg(nn.Module):
    def __init__(self, k: int, channels: int) -> None:
        super().__init__()
        self.k = k
        widths = [(2 * channels, 64), (64, 64), (128, 64), (64, 64)]
        layers = (nn.Sequential(nn.Conv2d(a, b, 1, bias=False), nn.BatchNorm2d(b)) for a, b in widths)
        self.conv1, self.conv2, self.conv3, self.conv4 = layers
        self.conv5 = EdgeByEdge(64, 64)
        self.conv6 = nn.Sequential(nn.Conv1d(192, 1024, 1, bias=False), nn.BatchNorm1d(1024))

    def forward(self, points_BNC: Tensor, places_BNC: Tensor) -> tuple[Tensor, Tensor]:
        one = two_layers_edge_by_edge(points_BNC, neighbours(places_BNC.detach(), self.k), self.conv1, self.conv2)
        two = two_layers_edge_by_edge(one, neighbours(one.detach(), self.k), self.conv3, self.conv4)
        three = self.conv5(two, neighbours(two.detach(), self.k))
        local_BNE = torch.cat([one, two, three], 2)
        return F.leaky_relu(self.conv6(local_BNE.transpose(1, 2)), 0.2).max(2).values, local_BNE


@pytest.mark.parametrize("channels", [3, 9])
def test_a_training_step_in_float64_equals_the_edge_by_edge_network(channels: int) -> None:
    torch.manual_seed(channels)
    ours, obvious = DGCNNSemSeg(5, channels).double(), ObviousSemSeg(5, channels).double()
    random_norms(ours)
    obvious.load_state_dict(ours.state_dict())
    points_BNC = torch.randn(3, 24, channels, dtype=torch.float64)
    places_BNC = points_BNC[:, :, 6:] if channels == 9 else points_BNC
    (found, local), (expected, expected_local) = ours.per_point(points_BNC), obvious(points_BNC, places_BNC)
    assert found.shape == (3, DGCNNSemSeg.feature_dim) and local.shape == (3, 24, DGCNNSemSeg.local_dim)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(local, expected_local, rtol=1e-9, atol=1e-11)
    slope, local_slope = torch.randn_like(found), torch.randn_like(local)
    ((found * slope).sum() + (local * local_slope).sum()).backward()
    ((expected * slope).sum() + (expected_local * local_slope).sum()).backward()
    assert_equal_gradients(ours, obvious, rtol=1e-8)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(points_BNC), obvious.eval()(points_BNC, places_BNC)[0], rtol=1e-9, atol=1e-11)


def test_it_has_the_published_names_and_gives_the_published_features_and_projections() -> None:
    state, answers = published("dgcnn_semseg_pretrain")
    encoder, head = DGCNNSemSeg(20).eval(), inv_head(1024).eval()
    encoder.load_state_dict(fit(state, encoder).weights)
    head.load_state_dict({name.removeprefix("inv_head."): value for name, value in state.items() if name.startswith("inv_head")})
    with torch.no_grad():
        feat_BD = encoder(torch.from_numpy(answers["points"]).transpose(1, 2))
        z_BE = head(feat_BD)
    torch.testing.assert_close(feat_BD, torch.from_numpy(answers["feature"]), rtol=0, atol=1e-4)
    torch.testing.assert_close(z_BE, torch.from_numpy(answers["projection"]), rtol=0, atol=1e-4)


def test_a_widened_state_without_its_drawn_columns_answers_like_the_three_channel_encoder() -> None:
    torch.manual_seed(1)
    narrow, wide = DGCNNSemSeg(6).double().eval(), DGCNNSemSeg(6, channels=9).double().eval()
    given = narrow.state_dict()
    state = widen_to_nine_channels(given, torch.Generator().manual_seed(0))
    assert all(value is given[name] for name, value in state.items() if name != "conv1.0.weight")
    state["conv1.0.weight"][:, [*range(3, 9), *range(12, 18)]] = 0.0
    wide.load_state_dict(state)
    place_BNC, colour_BNC = torch.randn(2, 30, 3, dtype=torch.float64), torch.rand(2, 30, 3, dtype=torch.float64)
    with torch.no_grad():
        found = wide(torch.cat([place_BNC, colour_BNC, place_BNC], 2))
        torch.testing.assert_close(found, narrow(place_BNC), rtol=1e-10, atol=1e-11)


def test_drawn_columns_are_those_of_the_generator_spread_like_a_new_convolutions() -> None:
    given = DGCNNSemSeg(6).state_dict()
    one, again, other = (widen_to_nine_channels(given, torch.Generator().manual_seed(seed))["conv1.0.weight"] for seed in (0, 0, 1))
    drawn = [*range(3, 9), *range(12, 18)]
    assert torch.equal(one, again)
    assert not torch.isclose(one[:, drawn], other[:, drawn]).any(1).all()
    bound = 18**-0.5
    assert one[:, drawn].abs().max() <= bound
    assert abs(one[:, drawn].std().item() - bound / 3**0.5) < 0.05 * bound and abs(one[:, drawn].mean().item()) < 0.05 * bound


def test_a_state_dict_that_is_not_of_three_channels_is_not_widened() -> None:
    generator = torch.Generator()
    with pytest.raises(ValueError, match=r"not \[64, 18, 1, 1\]"):
        widen_to_nine_channels(DGCNNSemSeg(6, channels=9).state_dict(), generator)
    with pytest.raises(ValueError, match="not missing"):
        widen_to_nine_channels({}, generator)


def test_a_step_under_bf16_autocast_gives_finite_gradients_on_every_parameter() -> None:
    torch.manual_seed(2)
    model = DGCNNSemSeg(4)
    with torch.autocast("cpu", torch.bfloat16):
        feat_BD = model(torch.randn(4, 32, 3))
    assert feat_BD.dtype == torch.float32
    feat_BD.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name


def test_clouds_of_another_shape_too_small_or_not_finite_are_refused() -> None:
    for channels in (3, 9):
        model = DGCNNSemSeg(20, channels)
        for answer in (model, model.per_point):
            with pytest.raises(ValueError, match=rf"\[B, N, {channels}\], not \[2, 32, 6\]"):
                answer(torch.randn(2, 32, 6))
        with pytest.raises(ValueError, match="20 neighbours for clouds of 16 points"):
            model(torch.randn(2, 16, channels))
        for channel in range(channels):
            points_BNC = torch.randn(2, 32, channels)
            points_BNC[1, 7, channel] = float("nan")
            with pytest.raises(ValueError, match=r"cloud 1 .*NaN"):
                model(points_BNC)
    with pytest.raises(ValueError, match=r"3 channels .* or 9 .*, not 6"):
        DGCNNSemSeg(20, channels=6)
