"""Points of sharp and of gentle variation, and attention to them (GDANet, Xu et al. 2021, whose modules RPC takes over).

B clouds, N points, M rows, C channels, S chosen points, R rows of a piece, K = 64 neighbours, E = C / 2. Both groups come from a graph
high-pass filter over feature space: a point that its neighbours predict badly varies sharply.
"""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .batchnorm import BatchNorm
from .maximum import piece_rows

CHOSEN = 256  # points in each group
PREDICTORS = 64  # nearest points that predict one, itself counted though it does not
REACH = 0.2  # distance from which on points are not joined
SPREAD = 2.0  # of the Gaussian edge weights exp(-distance^2 / spread^2)


@torch.no_grad()
def sharp_and_gentle(x_BNC: Tensor) -> tuple[Tensor, Tensor]:
    """[B, N, C] -> idx_BS, idx_BS int64: the 256 points of each cloud that vary most, and the 256 that vary least, each in no order.

    A point's variation is |x_i - sum_j A_ij x_j|^2 over its 63 nearest others, A the Gaussian edge weights divided by their sum over the
    whole cloud, itself with weight 1 among them (equations 2 to 5). In the features' own precision, at least float32, also under autocast.
    N >= 256; below 512 the groups overlap.
    """
    x_BNC = x_BNC.detach().to(torch.promote_types(x_BNC.dtype, torch.float32))
    clouds, points, _ = x_BNC.shape
    row_bytes = points * x_BNC.element_size()
    some_clouds, some_rows = piece_rows(points * row_bytes, clouds, x_BNC.is_cuda), piece_rows(row_bytes, points, x_BNC.is_cuda)
    variation_BN = x_BNC.new_empty(clouds, points)
    with torch.autocast(x_BNC.device.type, enabled=False):
        for group in (slice(first, first + some_clouds) for first in range(0, clouds, some_clouds)):
            for rows in (slice(first, first + some_rows) for first in range(0, points, some_rows)):
                variation_BN[group, rows] = _variation(x_BNC[group], rows)
    sharp_BS = variation_BN.topk(CHOSEN, sorted=False).indices
    return sharp_BS, variation_BN.topk(CHOSEN, largest=False, sorted=False).indices


def _variation(x_BNC: Tensor, rows: slice) -> Tensor:
    """[B, R]: the variation of the points `rows` of each cloud."""
    clouds, points, channels = x_BNC.shape
    own_BRC, norms_BN = x_BNC[:, rows], x_BNC.square().sum(2)
    distances_BRN = torch.baddbmm(norms_BN[:, None], own_BRC, x_BNC.transpose(1, 2), alpha=-2).add_(norms_BN[:, rows, None])
    near_BRK, idx_BRK = distances_BRN.topk(PREDICTORS, dim=2, largest=False, sorted=False)
    degree_BR1 = _edge_weights(distances_BRN).sum(2, keepdim=True)
    first_B11 = torch.arange(0, clouds * points, points, device=x_BNC.device)[:, None, None]
    idx_MK, weights_MK = (idx_BRK + first_B11).flatten(0, 1), _edge_weights(near_BRK).flatten(0, 1)
    sums_MC = F.embedding_bag(idx_MK, x_BNC.reshape(clouds * points, channels), mode="sum", per_sample_weights=weights_MK)
    predicted_BRC = (sums_MC.view_as(own_BRC) - own_BRC) / degree_BR1  # the sum held the point itself
    return (own_BRC - predicted_BRC).square().sum(2)


def _edge_weights(squares: Tensor) -> Tensor:
    """Of edges by their squared lengths; overwrites them."""
    joined = squares < REACH**2
    return squares.mul_(-1 / SPREAD**2).exp_().mul_(joined)


class SharpGentleAttention(nn.Module):
    """Every point attends to one group: x + W(theta(x) phi(group)' g(group) / S), names `theta`, `phi`, `g` and `W` as published.

    Non-local attention (Wang et al. 2018) without a softmax, so that the product may start from the right: phi' g is a matrix of channels,
    and the attention of all points to all chosen ones is never made. As published, W's BatchNorm starts at zero and the layer at the
    identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.g = nn.Conv1d(channels, inner, 1)
        self.W = nn.Sequential(nn.Conv1d(inner, channels, 1), BatchNorm(channels))
        self.theta = nn.Conv1d(channels, inner, 1)
        self.phi = nn.Conv1d(channels, inner, 1)
        nn.init.zeros_(self.W.get_parameter("1.weight"))

    def forward(self, x_BNC: Tensor, idx_BS: Tensor) -> Tensor:
        """[B, N, C] and the group's points -> [B, N, C]."""
        expand, norm = self.W[0], self.W[1]
        assert isinstance(expand, nn.Conv1d) and isinstance(norm, BatchNorm)
        group_BSC = x_BNC.gather(1, idx_BS[:, :, None].expand(-1, -1, x_BNC.shape[2]))
        keys_BSE = F.linear(group_BSC, self.phi.weight[:, :, 0], self.phi.bias) / idx_BS.shape[1]
        values_BSE = F.linear(group_BSC, self.g.weight[:, :, 0], self.g.bias)
        queries_BNE = F.linear(x_BNC, self.theta.weight[:, :, 0], self.theta.bias)
        found_BNE = queries_BNE @ (keys_BSE.transpose(1, 2) @ values_BSE)
        y_MC = F.linear(found_BNE.flatten(0, 1), expand.weight[:, :, 0], expand.bias)
        return norm(y_MC).view_as(x_BNC) + x_BNC
