"""RPC against one written edge by edge with PyTorch's layers, and against the published answers."""
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from jobs.models import maximum
from jobs.models.batchnorm import BatchNorm
from jobs.models.projection import inv_head
from jobs.models.rpc import RPC, local_operator
from tests.jobs.models.edges import assert_equal_gradients, neighbours_by_sorting
from tests.jobs.models.published import published
from tests.jobs.models.ranks import Answer, assert_ranks_equal_one_process, own_share
from tests.jobs.models.test_geometry_disentangled import ObviousAttention, groups_by_definition
from tests.jobs.models.test_offset_attention import ObviousTransformer

UNUSED = ("bn1.", "bn11.", "bn12.", "bn_feat.")  # second names of conv1.1 and conv11.1, and layers left out of the forward pass


class ObviousOperator(nn.Module):
    """Every edge [x_j - x_i ; x_j] through both layers, then the maximum."""

    def __init__(self, hidden: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(6, hidden, 1), nn.BatchNorm2d(hidden), nn.ReLU())
        self.conv11 = nn.Sequential(nn.Conv2d(hidden, channels, 1), nn.BatchNorm2d(channels), nn.ReLU())

    def forward(self, x_BNC: Tensor, idx_BNK: Tensor) -> Tensor:
        neighbours_BNKC = torch.stack([cloud_NC[idx_NK] for cloud_NC, idx_NK in zip(x_BNC, idx_BNK, strict=True)])
        edges_BNKC = torch.cat([neighbours_BNKC - x_BNC[:, :, None], neighbours_BNKC], 3)
        return self.conv11(self.conv1(edges_BNKC.permute(0, 3, 1, 2))).max(3).values.transpose(1, 2)


class Obvious(ObviousOperator):
    def __init__(self, k: int) -> None:
        super().__init__(64, 128)
        self.k = k
        self.SGCAM_1s, self.SGCAM_1g = ObviousAttention(128), ObviousAttention(128)
        self.pt_last = ObviousTransformer(256)
        self.conv_fuse = nn.Sequential(nn.Conv1d(1280, 1024, 1, bias=False), nn.BatchNorm1d(1024), nn.LeakyReLU(0.2))

    def forward(self, points_BNC: Tensor) -> Tensor:  # type: ignore[override]
        x_BNC = super().forward(points_BNC, neighbours_by_sorting(points_BNC, self.k))
        sharp_BS, gentle_BS = groups_by_definition(x_BNC.detach())
        local_BNC = torch.cat([self.SGCAM_1s(x_BNC, sharp_BS), self.SGCAM_1g(x_BNC, gentle_BS)], 2)
        y_BDN = self.conv_fuse(torch.cat([self.pt_last(local_BNC), local_BNC], 2).transpose(1, 2))
        return torch.cat([y_BDN.max(2).values, y_BDN.mean(2)], 1)


class Operator(nn.Module):
    """Ours, with the names of the obvious one."""

    def __init__(self, hidden: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(6, hidden, 1), BatchNorm(hidden))
        self.conv11 = nn.Sequential(nn.Conv2d(hidden, channels, 1), BatchNorm(channels))

    def forward(self, x_BNC: Tensor, idx_BNK: Tensor) -> Tensor:
        return local_operator(x_BNC, idx_BNK, self.conv1, self.conv11)


def random_norms(model: nn.Module) -> None:
    """Scales of both signs and shifts, so that no path through the model is the identity or dead, nor attention one-hot."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.normal_(1.0 if name.endswith("weight") else 0.0)
            elif "k_conv" in name:
                parameter.mul_(0.1)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("piece_bytes", [maximum.PIECE_BYTES, 1000])
def test_the_local_operator_equals_the_edge_by_edge_one(training: bool, piece_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(maximum, "PIECE_BYTES", piece_bytes)
    ours, obvious = Operator(8, 12).double(), ObviousOperator(8, 12).double()
    random_norms(ours)
    with torch.no_grad():
        ours.conv11[1].weight[:2] = torch.tensor([-1.0, 0.7])
    obvious.load_state_dict(ours.state_dict())
    ours.train(training), obvious.train(training)
    for _ in range(2):
        x_BNC = torch.randn(3, 20, 3, dtype=torch.float64) + 5
        idx_BNK = neighbours_by_sorting(x_BNC, 6)
        x_ours, x_obvious = x_BNC.clone().requires_grad_(), x_BNC.clone().requires_grad_()
        found, expected = ours(x_ours, idx_BNK), obvious(x_obvious, idx_BNK)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
        slope = torch.randn_like(found)
        (found * slope).sum().backward()
        (expected * slope).sum().backward()
        torch.testing.assert_close(x_ours.grad, x_obvious.grad, rtol=1e-8, atol=1e-10)
        assert_equal_gradients(ours, obvious)


def test_the_local_operators_scale_of_zero_gets_the_gradient_that_autograd_gives_it() -> None:
    torch.manual_seed(1)
    x_BNC = torch.randn(2, 20, 3, dtype=torch.float64)
    idx_BNK = neighbours_by_sorting(x_BNC, 5)
    ours, obvious = Operator(8, 12).double(), ObviousOperator(8, 12).double()
    with torch.no_grad():
        ours.conv11[1].weight[3], ours.conv11[1].bias[3] = 0.0, 1.0
    obvious.load_state_dict(ours.state_dict())
    for operator in (ours, obvious):
        operator(x_BNC, idx_BNK).square().sum().backward()
    assert_equal_gradients(ours, obvious)


def test_hidden_values_far_from_zero_keep_their_variance_in_float32() -> None:
    torch.manual_seed(2)
    exact, obvious = Operator(8, 12), ObviousOperator(8, 12).double()
    with torch.no_grad():
        exact.conv1[1].bias.fill_(1000.0)
    obvious.load_state_dict(exact.state_dict())
    x_BNC = torch.randn(2, 40, 3)
    idx_BNK = neighbours_by_sorting(x_BNC, 5)
    torch.testing.assert_close(exact(x_BNC, idx_BNK).double(), obvious(x_BNC.double(), idx_BNK), rtol=1e-2, atol=1e-2)


def test_a_training_step_in_float64_equals_the_obvious_network() -> None:
    torch.manual_seed(3)
    ours, obvious = RPC(6).double(), Obvious(6).double()
    random_norms(ours)
    obvious.load_state_dict(ours.state_dict())
    points_BNC = torch.randn(2, 288, 3, dtype=torch.float64)
    found, expected = ours(points_BNC), obvious(points_BNC)
    assert found.shape == (2, RPC.feature_dim)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)
    slope = torch.randn_like(found) / 100
    (found * slope).sum().backward()
    (expected * slope).sum().backward()
    assert_equal_gradients(ours, obvious)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(points_BNC), obvious.eval()(points_BNC), rtol=1e-8, atol=1e-9)


def test_it_has_the_published_names_and_gives_the_published_features_and_projections() -> None:
    state, answers = published("rpc")
    assert all(torch.equal(value, state[name.replace("q_conv", "k_conv")]) for name, value in state.items() if "q_conv" in name)
    encoder, head = RPC(30).eval(), inv_head(2048).eval()
    own = {name: value for name, value in state.items() if not name.startswith((*UNUSED, "inv_head")) and "q_conv" not in name}
    encoder.load_state_dict(own)
    head.load_state_dict({name.removeprefix("inv_head."): value for name, value in state.items() if name.startswith("inv_head")})
    with torch.no_grad():
        feat_BD = encoder(torch.from_numpy(answers["points"]).transpose(1, 2))
        z_BE = head(feat_BD)
    for found, expected in ((feat_BD, answers["feature"]), (z_BE, answers["projection"])):  # up to 350 and 208
        torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-4, atol=1e-5 * float(abs(expected).max()))


def test_a_step_under_bf16_autocast_gives_finite_gradients_on_every_parameter() -> None:
    torch.manual_seed(4)
    model = RPC(4)
    random_norms(model)
    points_BNC = torch.randn(2, 256, 3)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(points_BNC)
    found.float().square().mean().backward()
    assert found.isfinite().all()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        size = float(parameter.grad.abs().sum())
        if name in ("conv1.0.bias", "conv11.0.bias"):  # the batch's mean cancels them
            assert size == 0.0, name
        elif not name.endswith(("trans_conv.bias", "W.0.bias")):  # these too, to rounding
            assert size > 0, name


def test_a_model_that_diverged_answers_nan_and_does_not_fail() -> None:
    model = RPC(4)
    with torch.no_grad():
        model.get_parameter("conv11.0.weight").fill_(float("nan"))
    assert model(torch.randn(2, 256, 3)).isnan().all()


def test_every_parameter_of_a_new_model_gets_a_gradient() -> None:
    torch.manual_seed(5)
    model = RPC(4)
    model(torch.randn(2, 256, 3)).sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_clouds_of_another_shape_too_small_or_not_finite_are_refused() -> None:
    model = RPC(20)
    with pytest.raises(ValueError, match=r"\[B, N, 3\], not \[2, 3, 300\]"):
        model(torch.randn(2, 3, 300))
    with pytest.raises(ValueError, match="256 sharp and 256 gentle points: clouds of 255 points"):
        model(torch.randn(2, 255, 3))
    with pytest.raises(ValueError, match="300 neighbours for clouds of 256 points"):
        RPC(300)(torch.randn(2, 256, 3))
    points_BNC = torch.randn(2, 256, 3)
    points_BNC[1, 7, 1] = float("nan")
    with pytest.raises(ValueError, match=r"cloud 1 .*NaN"):
        model(points_BNC)


CLOUDS = 5  # 3 + 2 over two ranks, 2 + 2 + 1 over three


def data_parallel_step() -> Answer:
    """A small local operator alone, then gradients of RPC after DistributedDataParallel, its mean undone by the world size."""
    torch.manual_seed(6)
    share, world = own_share(CLOUDS), dist.get_world_size() if dist.is_initialized() else 1
    model, operator = RPC(4).double(), Operator(8, 12).double()
    random_norms(model)
    random_norms(operator)
    points_BNC = torch.randn(CLOUDS, 256, 3, dtype=torch.float64) + torch.arange(CLOUDS)[:, None, None]  # means that lie far apart
    slope_BD = torch.randn(CLOUDS, RPC.feature_dim, dtype=torch.float64) / 1000
    own_BNC = points_BNC[share, :20].clone().requires_grad_()
    out_BNF = operator(own_BNC, neighbours_by_sorting(own_BNC.detach(), 5))
    out_BNF.sin().sum().backward()
    assert own_BNC.grad is not None
    answer = {"rows/operator": out_BNF.detach(), "rows/operator input gradient": own_BNC.grad}
    answer |= {f"sum/operator {name}": value.grad for name, value in operator.named_parameters() if value.grad is not None}
    step = nn.parallel.DistributedDataParallel(model) if world > 1 else model
    feat_BD = step(points_BNC[share])
    ((feat_BD * slope_BD[share]).sum() * world).backward()
    answer["rows/features"] = feat_BD.detach()
    answer |= {f"same/{name}": value.grad for name, value in model.named_parameters() if value.grad is not None}
    return answer | {f"same/{name}": value for name, value in [*model.named_buffers(), *operator.named_buffers()]}


@pytest.mark.soak
def test_a_data_parallel_step_is_the_same_over_one_two_and_three_processes(tmp_path: Path) -> None:
    assert_ranks_equal_one_process(data_parallel_step, tmp_path, atol=1e-9)
