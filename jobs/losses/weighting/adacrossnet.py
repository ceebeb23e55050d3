"""AdaCrossNet's adaptive weights. K losses."""
from __future__ import annotations

import torch
from torch import Tensor

from jobs.losses.weighting.followed import FollowedLosses


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
        self.kept = FollowedLosses(losses, 1 if self.at_once else epoch_batches, device=device, dtype=dtype)
        self.state_dict, self.load_state_dict = self.kept.state_dict, self.kept.load_state_dict

    def weigh(self, losses_K: Tensor) -> Tensor:
        """losses_K [K] of this batch, global -> weights_K [K]: after the rule's step, or those of this epoch."""
        kept = self.kept
        before_K = kept.weights_K.clone()
        mean_K = kept.add(losses_K)
        if mean_K is None:
            return before_K
        change_K = mean_K - kept.previous_K
        if self.relative:
            change_K = torch.where(kept.previous_K > 0, change_K / kept.previous_K, torch.zeros_like(change_K))
        kept.weights_K = torch.lerp(torch.sigmoid(self.alpha * change_K), kept.weights_K, self.beta)
        kept.previous_K = mean_K
        return kept.weights_K.clone() if self.at_once else before_K
