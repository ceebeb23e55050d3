"""DGCNN's part segmentation encoder against one written edge by edge, and against the published answers."""
import pytest
import torch
from torch import Tensor

from jobs.bench.textbook import neighbours
from jobs.models.dgcnn_partseg import DGCNNPartSeg
from jobs.models.projection import inv_head
from jobs.models.published import fit
from tests.jobs.models.edges import assert_equal_gradients
from tests.jobs.models.published import published
from tests.jobs.models.test_dgcnn_semseg import ObviousSemSeg
from tests.jobs.models.test_edgeconv_two import random_norms
from tests.jobs.models.test_spatial_transform import ObviousSpatialTransform, random_matrix


class ObviousPartSeg(ObviousSemSeg):
    """The spatial transform, then the same EdgeConvs."""

    def __init__(self, k: int) -> None:
        super().__init__(k, 3)
        self.transform_net = ObviousSpatialTransform()

    def forward(self, points_BNC: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        moved_BNC = self.transform_net(points_BNC, neighbours(points_BNC, self.k))
        return super().forward(moved_BNC, moved_BNC)


def encoder(k: int) -> DGCNNPartSeg:
    """Its transform away from the identity."""
    model = DGCNNPartSeg(k)
    random_matrix(model.transform_net)
    return model


def test_a_training_step_in_float64_equals_the_edge_by_edge_network() -> None:
    torch.manual_seed(0)
    ours, obvious = encoder(5).double(), ObviousPartSeg(5).double()
    random_norms(ours)
    obvious.load_state_dict(ours.state_dict())
    points_BNC = torch.randn(4, 24, 3, dtype=torch.float64)
    (found, local), (expected, expected_local) = ours.per_point(points_BNC), obvious(points_BNC)
    assert found.shape == (4, DGCNNPartSeg.feature_dim) and local.shape == (4, 24, DGCNNPartSeg.local_dim)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(local, expected_local, rtol=1e-9, atol=1e-10)
    slope, local_slope = torch.randn_like(found), torch.randn_like(local)
    ((found * slope).sum() + (local * local_slope).sum()).backward()
    ((expected * slope).sum() + (expected_local * local_slope).sum()).backward()
    assert_equal_gradients(ours, obvious, rtol=1e-7)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(points_BNC), obvious.eval()(points_BNC)[0], rtol=1e-9, atol=1e-10)


def test_it_has_the_published_names_and_gives_the_published_features_and_projections() -> None:
    state, answers = published("dgcnn_partseg_pretrain")
    encoder, head = DGCNNPartSeg(20).eval(), inv_head(1024).eval()
    encoder.load_state_dict(fit(state, encoder).weights)
    head.load_state_dict({name.removeprefix("inv_head."): value for name, value in state.items() if name.startswith("inv_head")})
    points_BNC = torch.from_numpy(answers["points"]).transpose(1, 2)
    with torch.no_grad():
        feat_BD = encoder(points_BNC)
        z_BE = head(feat_BD)
        assert torch.equal(encoder.per_point(points_BNC)[0], feat_BD)
    torch.testing.assert_close(feat_BD, torch.from_numpy(answers["feature"]), rtol=0, atol=1e-4)
    torch.testing.assert_close(z_BE, torch.from_numpy(answers["projection"]), rtol=0, atol=1e-4)


def test_a_step_under_bf16_autocast_gives_finite_gradients_on_every_parameter() -> None:
    torch.manual_seed(1)
    model = encoder(4)
    with torch.autocast("cpu", torch.bfloat16):
        feat_BD = model(torch.randn(4, 32, 3))
    assert feat_BD.dtype == torch.float32
    feat_BD.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name


def test_every_parameter_of_a_new_model_gets_a_gradient() -> None:
    model = DGCNNPartSeg(4)
    model(torch.randn(3, 16, 3)).sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_a_model_that_diverged_answers_nan_and_does_not_fail() -> None:
    model = DGCNNPartSeg(4)
    with torch.no_grad():
        model.get_parameter("transform_net.transform.bias").fill_(float("nan"))
    feat_BD = model(torch.randn(2, 16, 3))
    assert feat_BD.isnan().all()
    feat_BD.sum().backward()


def test_clouds_of_another_shape_too_small_not_finite_and_a_single_one_in_training_are_refused() -> None:
    model = DGCNNPartSeg(20)
    for answer in (model, model.per_point):
        with pytest.raises(ValueError, match=r"\[B, N, 3\], not \[2, 3, 32\]"):
            answer(torch.randn(2, 3, 32))
    with pytest.raises(ValueError, match="20 neighbours for clouds of 16 points"):
        model(torch.randn(2, 16, 3))
    points_BNC = torch.randn(2, 32, 3)
    points_BNC[1, 7, 1] = float("inf")
    with pytest.raises(ValueError, match=r"cloud 1 .*infinite"):
        model(points_BNC)
    with pytest.raises(ValueError, match="larger batch"):
        model(torch.randn(1, 32, 3))
    assert model.eval()(torch.randn(1, 32, 3)).shape == (1, 1024)
