"""The part head against the published chain with everything repeated for each point, and against the published answers."""
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from jobs.models.pointnet_parts_head import PointNetPartsHead
from jobs.models.pointnet_partseg import PointNetPartSeg
from tests.jobs.models.published import published


class Obvious(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [(channels, 256), (256, 256), (256, 128)]
        self.convs1, self.convs2, self.convs3 = (nn.Conv1d(a, b, 1, bias=False) for a, b in widths)
        self.bns1, self.bns2, self.bns3 = (nn.BatchNorm1d(width) for _, width in widths)
        self.convs4 = nn.Conv1d(128, 50, 1)

    def forward(self, feat_BD: Tensor, local_BNE: Tensor, category_BC: Tensor) -> Tensor:
        shared = torch.cat([feat_BD, category_BC], 1)[:, None].expand(-1, local_BNE.shape[1], -1)
        x_BCN = torch.cat([shared, local_BNE], 2).transpose(1, 2)
        for convolution, norm in ((self.convs1, self.bns1), (self.convs2, self.bns2), (self.convs3, self.bns3)):
            x_BCN = norm(convolution(x_BCN)).relu()
        return self.convs4(x_BCN).transpose(1, 2)


def test_a_training_step_equals_the_chain_with_all_repeated() -> None:
    torch.manual_seed(0)
    ours, obvious = PointNetPartsHead(6, 9).double(), Obvious(6 + 16 + 9).double()
    obvious.load_state_dict(ours.state_dict())
    inputs = torch.randn(3, 6, dtype=torch.float64), torch.randn(3, 12, 9, dtype=torch.float64)
    category_BC = torch.eye(16, dtype=torch.float64)[[3, 0, 15]]
    a, b = ([value.clone().requires_grad_() for value in inputs] for _ in range(2))
    found, expected = ours(*a, category_BC), obvious(*b, category_BC)
    assert found.shape == (3, 12, 50)
    torch.testing.assert_close(found, expected)
    slope = torch.randn_like(found)
    (found * slope).sum().backward()
    (expected * slope).sum().backward()
    for one, other in zip(a, b, strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    gradients, statistics = dict(obvious.named_parameters()), obvious.state_dict()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name].grad, msg=partial("{}: {}".format, name))
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, statistics[name], msg=partial("{}: {}".format, name))


def test_encoder_and_head_have_the_published_names_and_give_the_published_scores() -> None:
    state, answers = published("pointnet_partseg")
    encoder, head = PointNetPartSeg().eval(), PointNetPartsHead().eval()
    own = {name: value for name, value in state.items() if not name.startswith("inv_head")}  # made for 1,024 features, the pool has 2,048
    encoder.load_state_dict({name: value for name, value in own.items() if not name.startswith(("convs", "bns"))})
    head.load_state_dict({name: value for name, value in own.items() if name.startswith(("convs", "bns"))})
    points_BNC = torch.from_numpy(answers["points"]).transpose(1, 2)
    with torch.no_grad():
        feat_BD, local_BNE = encoder.per_point(points_BNC)
        scores_BNP = head(feat_BD, local_BNE, torch.from_numpy(answers["category"]))
        torch.testing.assert_close(encoder(points_BNC), feat_BD, rtol=1e-5, atol=1e-4)
    expected = torch.from_numpy(answers["logits"]).transpose(1, 2)
    torch.testing.assert_close(scores_BNP.log_softmax(2), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_a_step_under_bf16_autocast_gives_finite_gradients_on_every_parameter() -> None:
    torch.manual_seed(1)
    head = PointNetPartsHead(6, 9)
    with torch.autocast("cpu", torch.bfloat16):
        scores = head(torch.randn(4, 6), torch.randn(4, 12, 9), torch.eye(16)[:4])
    nn.functional.cross_entropy(scores.float().flatten(0, 1), torch.randint(0, 50, (48,))).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name


def test_features_that_do_not_fit_are_refused() -> None:
    head = PointNetPartsHead(6, 9)
    feat_BD, local_BNE, category_BC = torch.randn(2, 6), torch.randn(2, 5, 9), torch.eye(16)[:2]
    for wrong in ((feat_BD[:, :5], local_BNE, category_BC), (feat_BD, local_BNE[:1], category_BC), (feat_BD, local_BNE, category_BC[:1])):
        with pytest.raises(ValueError, match="the part head takes pooled ones"):
            head(*wrong)
