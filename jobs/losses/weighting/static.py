"""Constant weights. K losses."""
from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class StaticWeights:
    """The same weights at every step."""

    def __init__(self, weights: list[float], device: torch.device | str, dtype: torch.dtype) -> None:
        self.weights_K = torch.tensor(weights, device=device, dtype=dtype)

    def weigh(self, losses_K: Tensor) -> Tensor:
        """-> weights_K, whatever the losses."""
        return self.weights_K.clone()

    def state_dict(self) -> dict[str, Tensor]:
        """Nothing: the config holds the weights."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to take up; ValueError when there is."""
        if state:
            raise ValueError(f"constant weights have no state, but the checkpoint holds {sorted(state)}: resume with the weighting it had")
