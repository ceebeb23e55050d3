"""Constant weights. K losses."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from jobs.losses.weighting.protocol import check_state


class StaticWeights:
    """The same weights at every step."""

    def __init__(self, weights: list[float], *, device: torch.device | str, dtype: torch.dtype) -> None:
        self.weights_K = torch.tensor(weights, device=device, dtype=dtype)

    def weigh(self, losses_K: Tensor) -> Tensor:
        """-> weights_K, whatever the losses."""
        return self.weights_K.clone()

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the config holds the weights."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to take up; ValueError when there is."""
        check_state(state, set(), len(self.weights_K))
