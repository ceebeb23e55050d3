"""AdaCrossNet's adaptive weights. K losses."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from jobs.losses.weighting.epoch_mean import EpochMean
from jobs.losses.weighting.protocol import check_state


class AdaCrossNetWeights:
    """w_k <- beta w_k + (1 - beta) sigmoid(alpha (L_k(t) - L_k(t-1))), from w_0 = 1 and L(0) = 0 (Putra et al. 2025).

    A loss that grows gets more weight. t counts batches (`cadence` step, as published) or epochs, whose losses are their means: the weights
    of an epoch then follow from the two before. `change` relative divides the change by L_k(t-1), and takes none at t = 1.
    """

    def __init__(
        self, losses: int, *, alpha: float, beta: float, cadence: str, change: str, epoch_batches: int,
        device: torch.device | str, dtype: torch.dtype,
    ) -> None:  # fmt: skip
        self.alpha, self.beta, self.relative, self.at_once = alpha, beta, change == "relative", cadence == "step"
        self.weights_K = torch.ones(losses, device=device, dtype=dtype)
        self.previous_K = torch.zeros(losses, device=device, dtype=dtype)
        self.mean = EpochMean(losses, 1 if self.at_once else epoch_batches, device, dtype)

    def weigh(self, losses_K: Tensor) -> Tensor:
        """losses_K [K] of this batch, global -> weights_K [K]: after the rule's step, or those of this epoch."""
        before_K = self.weights_K.clone()
        mean_K = self.mean.add(losses_K.detach().to(self.previous_K))
        if mean_K is None:
            return before_K
        change_K = mean_K - self.previous_K
        if self.relative:
            change_K = torch.where(self.previous_K > 0, change_K / self.previous_K, torch.zeros_like(change_K))
        self.weights_K = torch.lerp(torch.sigmoid(self.alpha * change_K), self.weights_K, self.beta)
        self.previous_K = mean_K.clone()
        return self.weights_K.clone() if self.at_once else before_K

    def state_dict(self) -> dict[str, Any]:
        """The weights, the losses before, and the epoch's so far."""
        return {"weights": self.weights_K.clone(), "previous": self.previous_K.clone(), **self.mean.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; ValueError when it is not this strategy's, or of another number of losses."""
        check_state(state, {"weights", "previous", "epoch_sum", "epoch_seen"}, len(self.weights_K))
        self.weights_K = state["weights"].to(self.weights_K).clone()
        self.previous_K = state["previous"].to(self.previous_K).clone()
        self.mean.load_state_dict(dict(state))
