"""What a strategy keeps that follows the losses by a rule: its weights, the losses before, and a period's mean so far. K losses."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from jobs.losses.weighting.protocol import check_state


class FollowedLosses:
    """`weights_K` (1 at first), `previous_K` (0: there is none yet), and the mean over `batches` batches: a period, such as an epoch.

    Counts on the host, where the number of batches is known. ValueError when a period has no batch.
    """

    def __init__(self, losses: int, batches: int, *, device: torch.device | str, dtype: torch.dtype) -> None:
        if batches < 1:
            raise ValueError(f"an epoch has {batches} batches: a weighting that moves once an epoch needs at least 1")
        self.batches, self.seen = batches, 0
        self.weights_K = torch.ones(losses, device=device, dtype=dtype)
        self.previous_K, self.sum_K = torch.zeros_like(self.weights_K), torch.zeros_like(self.weights_K)

    def add(self, losses_K: Tensor) -> Tensor | None:
        """The finished period's mean with the last batch of one, None before."""
        self.sum_K = self.sum_K + losses_K.detach().to(self.sum_K)
        self.seen += 1
        if self.seen < self.batches:
            return None
        mean_K = self.sum_K / self.batches
        self.sum_K, self.seen = torch.zeros_like(self.sum_K), 0
        return mean_K

    def state_dict(self) -> dict[str, Any]:
        """The weights, the losses before, and the period's sum and count so far."""
        kept = {"weights": self.weights_K, "previous": self.previous_K, "sum": self.sum_K}
        return {**{name: value.clone() for name, value in kept.items()}, "seen": torch.tensor(self.seen)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; ValueError when it is another kind's, or of another number of losses."""
        check_state(state, {"weights", "previous", "sum", "seen"}, len(self.weights_K))
        self.weights_K, self.previous_K, self.sum_K = (state[name].to(self.sum_K).clone() for name in ("weights", "previous", "sum"))
        self.seen = int(state["seen"])
