"""Dynamic Weight Average. K losses."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from jobs.losses.weighting.epoch_mean import EpochMean
from jobs.losses.weighting.protocol import check_state


class DynamicWeightAverage:
    """w_k = K softmax_k(r_k / T) with r_k = L_k(e-1) / L_k(e-2), L(e) an epoch's mean losses; 1 in the first two epochs.

    Liu, Johns and Davison 2019, "End-to-End Multi-Task Learning with Attention", equation 7. A loss that falls slower gets more weight.
    """

    def __init__(self, losses: int, *, temperature: float, epoch_batches: int, device: torch.device | str, dtype: torch.dtype) -> None:
        self.temperature = temperature
        self.weights_K = torch.ones(losses, device=device, dtype=dtype)
        self.previous_K = torch.zeros(losses, device=device, dtype=dtype)  # of the last epoch; 0: there is none yet
        self.mean = EpochMean(losses, epoch_batches, device, dtype)

    def weigh(self, losses_K: Tensor) -> Tensor:
        """losses_K [K] of this batch, global -> weights_K [K] of this epoch."""
        weights_K = self.weights_K.clone()
        mean_K = self.mean.add(losses_K.detach().to(self.previous_K))
        if mean_K is not None:
            rates_K = torch.where(self.previous_K > 0, mean_K / self.previous_K, torch.ones_like(mean_K))
            self.weights_K = len(mean_K) * torch.softmax(rates_K / self.temperature, 0)
            self.previous_K = mean_K
        return weights_K

    def state_dict(self) -> dict[str, Any]:
        """The weights, the last epoch's losses, and this epoch's so far."""
        return {"weights": self.weights_K.clone(), "previous": self.previous_K.clone(), **self.mean.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; ValueError when it is not this strategy's, or of another number of losses."""
        check_state(state, {"weights", "previous", "epoch_sum", "epoch_seen"}, len(self.weights_K))
        self.weights_K = state["weights"].to(self.weights_K).clone()
        self.previous_K = state["previous"].to(self.previous_K).clone()
        self.mean.load_state_dict(dict(state))
