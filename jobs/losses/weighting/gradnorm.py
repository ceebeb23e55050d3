"""Weights that balance gradient norms. K losses."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from jobs.losses.weighting.protocol import check_state, own_optimizer

LEAST = 1e-3  # a weight never falls below: the paper sets no bound, but a weight of 0 has no gradient to come back by


class GradNormWeights:
    """Moves w so that each loss's gradient norm w_k n_k nears mean(w n) r_k^alpha, r_k the relative inverse training rate.

    Chen et al. 2018, "GradNorm: Gradient Normalization for Adaptive Loss Balancing", equations 1 and 2 and algorithm 1: n_k is the norm of
    loss k's gradient at the last shared layer, r_k = (L_k / L_k(0)) / mean of the same; the target is held constant; weights start at 1
    and are scaled to sum to K after each move. With the target constant the gradient of w_k is sign(w_k n_k - target_k) n_k.
    """

    def __init__(self, losses: int, *, alpha: float, rate: float, device: torch.device | str, dtype: torch.dtype) -> None:
        self.alpha = alpha
        self.weights_K = torch.ones(losses, device=device, dtype=dtype)
        self.first_K = torch.zeros(losses, device=device, dtype=dtype)  # 0: no batch was seen yet
        self.losses_K = torch.ones(losses, device=device, dtype=dtype)
        self.optimizer = own_optimizer(self.weights_K, rate)

    def weigh(self, losses_K: Tensor) -> Tensor:
        """losses_K [K] of this batch, global -> weights_K [K]: those that the batch before led to."""
        self.losses_K = losses_K.detach().to(self.weights_K)
        self.first_K = torch.where(self.first_K > 0, self.first_K, self.losses_K)
        return self.weights_K.clone()

    @torch.no_grad()
    def on_gradients(self, norms_K: Tensor) -> None:
        """norms_K [K] of the unweighted losses' gradients over all ranks: one move of the weights."""
        norms_K = norms_K.to(self.weights_K)
        weighted_K = self.weights_K * norms_K
        progress_K = self.losses_K / self.first_K
        target_K = weighted_K.mean() * (progress_K / progress_K.mean()) ** self.alpha
        self.weights_K.grad = torch.sign(weighted_K - target_K) * norms_K
        self.optimizer.step()
        self.weights_K.clamp_min_(LEAST)
        self.weights_K.mul_(len(self.weights_K) / self.weights_K.sum())

    def state_dict(self) -> dict[str, Any]:
        """The weights, the first losses, and the moments of the weights' optimizer."""
        return {"weights": self.weights_K.clone(), "first": self.first_K.clone(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; ValueError when it is not this strategy's, or of another number of losses."""
        check_state(state, {"weights", "first", "optimizer"}, len(self.weights_K))
        self.weights_K.copy_(state["weights"])
        self.first_K = state["first"].to(self.first_K).clone()
        self.optimizer.load_state_dict(state["optimizer"])
