"""Random weights, the baseline that papers forget. K losses."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jobs.losses.weighting.protocol import check_state


class RandomWeights:
    """w = K softmax(n), n ~ N(0, 1) anew for each batch.

    Lin et al. 2022, "Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task Learning" (their normal distribution). The
    draw depends on (seed, batches so far) alone, so it is the same on every rank and after a resume.
    """

    def __init__(self, losses: int, *, seed: int, device: torch.device | str, dtype: torch.dtype) -> None:
        self.losses, self.seed, self.device, self.dtype = losses, seed, device, dtype
        self.drawn = 0

    def weigh(self, losses_K: Tensor) -> Tensor:
        """-> weights_K, whatever the losses."""
        normal = np.random.Generator(np.random.Philox(key=np.array([self.seed, self.drawn], dtype=np.uint64))).standard_normal(self.losses)
        self.drawn += 1
        weights_K = self.losses * torch.softmax(torch.from_numpy(normal), 0)
        return weights_K.to(device=self.device, dtype=self.dtype, non_blocking=True)

    def state_dict(self) -> dict[str, Any]:
        """How many draws were made."""
        return {"drawn": torch.tensor(self.drawn)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; ValueError when it is not this strategy's."""
        check_state(state, {"drawn"}, self.losses)
        self.drawn = int(state["drawn"])
