"""DGCNN's part head against the published chain with everything repeated for each point, and against the published answers."""
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jobs.models.dgcnn_parts_head import DGCNNPartsHead
from jobs.models.dgcnn_partseg import DGCNNPartSeg
from jobs.models.published import fit
from tests.jobs.models.edges import assert_equal_gradients
from tests.jobs.models.published import published
from tests.jobs.models.test_edgeconv_two import random_norms


class ObviousHead(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [(16, 64), (channels + 64, 256), (256, 256), (256, 128)]
        layers = (nn.Sequential(nn.Conv1d(a, b, 1, bias=False), nn.BatchNorm1d(b), nn.LeakyReLU(0.2)) for a, b in widths)
        self.conv7, self.conv8, self.conv9, self.conv10 = layers
        self.conv11 = nn.Conv1d(128, 50, 1, bias=False)

    def forward(self, feat_BD: Tensor, local_BNE: Tensor, category_BC: Tensor) -> Tensor:
        shared_BD = torch.cat([feat_BD, self.conv7(category_BC[:, :, None])[:, :, 0]], 1)
        x_BCN = torch.cat([shared_BD[:, None].expand(-1, local_BNE.shape[1], -1), local_BNE], 2).transpose(1, 2)
        for layer in (self.conv8, self.conv9):
            x_BNC = layer(x_BCN).transpose(1, 2)
            if self.training:  # point by point, so that the draws are those of ours
                x_BNC = torch.where(torch.rand(x_BNC.shape) >= 0.5, 2 * x_BNC, 0.0)
            x_BCN = x_BNC.transpose(1, 2)
        return self.conv11(self.conv10(x_BCN)).transpose(1, 2)


@pytest.mark.parametrize("training", [True, False])
def test_values_and_gradients_equal_the_chain_with_all_repeated_dropout_included(training: bool) -> None:
    torch.manual_seed(0)
    ours, obvious = DGCNNPartsHead(6, 9).double(), ObviousHead(6 + 9).double()
    random_norms(ours)
    obvious.load_state_dict(ours.state_dict())
    ours.train(training), obvious.train(training)
    inputs = torch.randn(3, 6, dtype=torch.float64), torch.randn(3, 12, 9, dtype=torch.float64)
    category_BC = torch.eye(16, dtype=torch.float64)[[3, 0, 15]]
    a, b = ([value.clone().requires_grad_() for value in inputs] for _ in range(2))
    answers = []
    for head, (feat_BD, local_BNE) in ((ours, a), (obvious, b)):
        torch.manual_seed(1)
        answers.append(head(feat_BD, local_BNE, category_BC))
    assert answers[0].shape == (3, 12, 50)
    torch.testing.assert_close(*answers)
    slope = torch.randn_like(answers[0])
    for answer in answers:
        (answer * slope).sum().backward()
    for one, other in zip(a, b, strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    assert_equal_gradients(ours, obvious)
    again = ours(*inputs, category_BC)
    assert torch.equal(again, answers[0]) != training  # half of the values are dropped, others each time


def test_encoder_and_head_have_the_published_names_and_give_the_published_scores() -> None:
    state, answers = published("dgcnn_partseg")
    encoder, head = DGCNNPartSeg(20).eval(), DGCNNPartsHead().eval()
    encoder.load_state_dict(fit(state, encoder).weights)
    head.load_state_dict({name: value for name, value in state.items() if name.startswith(("conv7", "conv8", "conv9", "conv10", "conv11"))})
    points_BNC, category_BC = torch.from_numpy(answers["points"]).transpose(1, 2), torch.from_numpy(answers["category"])
    with torch.no_grad():
        scores_BNP = head(*encoder.per_point(points_BNC), category_BC)
    torch.testing.assert_close(scores_BNP.transpose(1, 2), torch.from_numpy(answers["logits"]), rtol=0, atol=1e-4)


def test_a_step_under_bf16_autocast_gives_finite_gradients_on_every_parameter() -> None:
    torch.manual_seed(2)
    head = DGCNNPartsHead(6, 9)
    with torch.autocast("cpu", torch.bfloat16):
        scores = head(torch.randn(4, 6), torch.randn(4, 12, 9), torch.eye(16)[:4])
    F.cross_entropy(scores.float().flatten(0, 1), torch.randint(0, 50, (48,))).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name


def test_features_that_do_not_fit_and_a_single_cloud_in_training_are_refused() -> None:
    head = DGCNNPartsHead(6, 9)
    feat_BD, local_BNE, category_BC = torch.randn(2, 6), torch.randn(2, 5, 9), torch.eye(16)[:2]
    for wrong in ((feat_BD[:, :5], local_BNE, category_BC), (feat_BD, local_BNE[:1], category_BC), (feat_BD, local_BNE, category_BC[:1])):
        with pytest.raises(ValueError, match="the part head takes pooled ones"):
            head(*wrong)
    with pytest.raises(ValueError, match="larger batch"):
        head(feat_BD[:1], local_BNE[:1], category_BC[:1])
    assert head.eval()(feat_BD[:1], local_BNE[:1], category_BC[:1]).shape == (1, 5, 50)
