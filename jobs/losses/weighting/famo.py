"""FAMO: weights under which all losses fall at the same rate. K losses."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from jobs.losses.weighting.protocol import check_state, own_optimizer

FLOOR = 1e-8  # losses are measured from 0, which NT-Xent does not go below


class FamoWeights:
    """w_k = c z_k / L_k with z = softmax(xi) and c = 1 / sum_k (z_k / L_k); xi moves by J' (log L - log L after the step), J of softmax.

    Liu et al. 2023, "FAMO: Fast Adaptive Multitask Optimization", algorithm 1. A loss whose logarithm fell less gets more weight. The
    weights sum to 1. xi is moved by Adam with weight decay, as in the paper's experiments.
    """

    def __init__(self, losses: int, *, rate: float, decay: float, device: torch.device | str, dtype: torch.dtype) -> None:
        self.logits_K = torch.zeros(losses, device=device, dtype=dtype)
        self.before_K = torch.ones(losses, device=device, dtype=dtype)
        self.batches = 0  # weighed since the last step: more than one where gradients are accumulated
        self.optimizer = own_optimizer(self.logits_K, rate, decay)

    def weigh(self, losses_K: Tensor) -> Tensor:
        """losses_K [K] of this batch, global -> weights_K [K]."""
        losses_K = losses_K.detach().to(self.logits_K).clamp_min(FLOOR)
        self.before_K = losses_K if self.batches == 0 else self.before_K + losses_K
        self.batches += 1
        shares_K = torch.softmax(self.logits_K, 0) / losses_K
        return shares_K / shares_K.sum()

    @torch.no_grad()
    def after_step(self, losses_K: Tensor) -> None:
        """losses_K [K] of the same shapes after the optimizer's step, a mean over its batches: one move of xi."""
        fell_K = torch.log(self.before_K / self.batches) - torch.log(losses_K.to(self.logits_K).clamp_min(FLOOR))
        share_K = torch.softmax(self.logits_K, 0)
        self.logits_K.grad = share_K * (fell_K - (share_K * fell_K).sum())
        self.optimizer.step()
        self.batches = 0

    def state_dict(self) -> dict[str, Any]:
        """The logits and the moments of their optimizer."""
        return {"logits": self.logits_K.clone(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; ValueError when it is not this strategy's, or of another number of losses."""
        check_state(state, {"logits", "optimizer"}, len(self.logits_K))
        self.logits_K.copy_(state["logits"])
        self.optimizer.load_state_dict(state["optimizer"])
