"""The mean of losses over an epoch, for the strategies that move once an epoch. K losses."""
from __future__ import annotations

import torch
from torch import Tensor


class EpochMean:
    """Adds up the losses of an epoch's batches; counts on the host, where the number of batches is known."""

    def __init__(self, losses: int, batches: int, device: torch.device | str, dtype: torch.dtype) -> None:
        if batches < 1:
            raise ValueError(f"an epoch has {batches} batches: a weighting that moves once an epoch needs at least 1")
        self.batches, self.seen = batches, 0
        self.sum_K = torch.zeros(losses, device=device, dtype=dtype)

    def add(self, losses_K: Tensor) -> Tensor | None:
        """The finished epoch's mean with the last batch of one, None before."""
        self.sum_K = self.sum_K + losses_K
        self.seen += 1
        if self.seen < self.batches:
            return None
        mean_K = self.sum_K / self.batches
        self.sum_K, self.seen = torch.zeros_like(self.sum_K), 0
        return mean_K

    def state_dict(self) -> dict[str, Tensor]:
        """The sum and the count so far."""
        return {"epoch_sum": self.sum_K.clone(), "epoch_seen": torch.tensor(self.seen)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from `state`."""
        self.sum_K, self.seen = state["epoch_sum"].to(self.sum_K).clone(), int(state["epoch_seen"])
