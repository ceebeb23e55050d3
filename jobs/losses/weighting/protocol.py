"""What a strategy of weighting losses is. K losses."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor


class Weighting(Protocol):
    """Weights of the K losses of a step. State is held in device tensors: a step never waits for the device."""

    def weigh(self, losses_K: Tensor) -> Tensor:
        """losses_K (of this step, detached, summed over ranks) -> weights_K, without gradient; called once a step, as it may move state."""

    def state_dict(self) -> dict[str, Tensor]:
        """All that a resumed run needs to go on with the same weights."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up the state of `state_dict`; ValueError when it is another strategy's."""
