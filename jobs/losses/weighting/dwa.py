"""Dynamic Weight Average. K losses."""
from __future__ import annotations

import torch
from torch import Tensor

from jobs.losses.weighting.followed import FollowedLosses


class DynamicWeightAverage:
    """w_k = K softmax_k(r_k / T) with r_k = L_k(e-1) / L_k(e-2), L(e) an epoch's mean losses; 1 in the first two epochs.

    Liu, Johns and Davison 2019, "End-to-End Multi-Task Learning with Attention", equation 7. A loss that falls slower gets more weight.
    """

    def __init__(self, losses: int, *, temperature: float, epoch_batches: int, device: torch.device | str, dtype: torch.dtype) -> None:
        self.temperature = temperature
        self.kept = FollowedLosses(losses, epoch_batches, device=device, dtype=dtype)
        self.state_dict, self.load_state_dict = self.kept.state_dict, self.kept.load_state_dict

    def weigh(self, losses_K: Tensor) -> Tensor:
        """losses_K [K] of this batch, global -> weights_K [K] of this epoch."""
        kept = self.kept
        weights_K = kept.weights_K.clone()
        mean_K = kept.add(losses_K)
        if mean_K is not None:
            rates_K = torch.where(kept.previous_K > 0, mean_K / kept.previous_K, torch.ones_like(mean_K))
            kept.weights_K = len(mean_K) * torch.softmax(rates_K / self.temperature, 0)
            kept.previous_K = mean_K
        return weights_K
