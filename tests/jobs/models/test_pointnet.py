"""PointNet against the chain of PyTorch's layers, and against the published answers."""
from itertools import pairwise

import pytest
import torch
from torch import nn

from jobs.models.pointnet import PointNet
from jobs.models.projection import inv_head
from tests.jobs.models.published import published


def test_a_training_step_equals_pytorchs_chain() -> None:
    torch.manual_seed(0)
    ours = PointNet().double()
    pairs = pairwise((3, 64, 64, 64, 128, 1024))
    chain = nn.Sequential(*[part for a, b in pairs for part in (nn.Conv1d(a, b, 1, bias=False), nn.BatchNorm1d(b), nn.ReLU())]).double()
    for layer in range(5):
        chain.get_parameter(f"{3 * layer}.weight").data.copy_(ours.get_parameter(f"conv{layer + 1}.weight"))
    points_BNC = torch.randn(3, 20, 3, dtype=torch.float64)
    found, expected = ours(points_BNC), chain(points_BNC.transpose(1, 2)).max(2).values
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    for layer in range(5):
        torch.testing.assert_close(getattr(ours, f"conv{layer + 1}").weight.grad, chain[3 * layer].weight.grad, rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(getattr(ours, f"bn{layer + 1}").running_var, chain[3 * layer + 1].running_var)


def test_it_has_the_published_names_and_gives_the_published_features_and_projections() -> None:
    state, answers = published("pointnet_cls")
    encoder, head = PointNet().eval(), inv_head(PointNet.feature_dim).eval()
    encoder.load_state_dict({name: value for name, value in state.items() if not name.startswith("inv_head")})
    head.load_state_dict({name.removeprefix("inv_head."): value for name, value in state.items() if name.startswith("inv_head")})
    with torch.no_grad():
        feat_BD = encoder(torch.from_numpy(answers["points"]).transpose(1, 2))
        z_BE = head(feat_BD)
    torch.testing.assert_close(feat_BD, torch.from_numpy(answers["feature"]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(z_BE, torch.from_numpy(answers["projection"]), rtol=1e-4, atol=1e-4)


def test_clouds_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[B, N, 3\], not \[2, 3, 32\]"):
        PointNet()(torch.randn(2, 3, 32))
