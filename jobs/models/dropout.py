"""Dropout that does not depend on how a batch is spread over ranks. B clouds of this rank."""
from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Place(NamedTuple):
    """Where this rank's clouds stand in the global batch."""

    before: int  # clouds of lower ranks
    own: int
    whole: int


class Dropout(nn.Module):
    """`nn.Dropout` whose values are drawn for the whole global batch where `place` says how it is spread; each rank keeps its own rows.

    All ranks must stand at the same state of the generator, as they do when each step seeds it.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.place: Place | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Any shape whose first dimension goes through the clouds one after another."""
        if not self.training or not self.p:
            return x
        before, own, whole = self.place or (0, x.shape[0], x.shape[0])
        drawn = torch.rand(whole, x.numel() // own, device=x.device)[before : before + own]
        return x * (drawn >= self.p).view_as(x) / (1 - self.p)


def spread(model: nn.Module, place: Place) -> None:
    """Tells every Dropout of a model where this rank's clouds stand."""
    for module in model.modules():
        if isinstance(module, Dropout):
            module.place = place
