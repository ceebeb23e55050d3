"""What a strategy of weighting losses is. K losses.

Every strategy follows losses summed over all ranks, so all ranks hold the same weights. State is held in device tensors: a step never
waits for the device. Scaling the weights to a constant sum is the step's business (`to_constant_sum`), not a strategy's.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


class Weighting(Protocol):
    """Weights of the K losses of a step."""

    def weigh(self, losses_K: Tensor) -> Tensor:
        """losses_K (detached, summed over ranks) -> weights_K, without gradient; called once a batch, as it may move state."""

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs to go on with the same weights: tensors, and what an optimizer of its own calls its state."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state of `state_dict`; ValueError when it is another strategy's."""


@runtime_checkable
class Learned(Protocol):
    """A strategy whose state the training's optimizer moves; `weigh` adds the state's gradient to its `.grad`."""

    def parameters(self) -> list[Tensor]:
        """What the optimizer moves, without weight decay."""


@runtime_checkable
class FollowsGradients(Protocol):
    """A strategy that compares how much of a gradient each loss has."""

    def on_gradients(self, norms_K: Tensor) -> None:
        """norms_K: of each unweighted loss's gradient over all ranks at the last layer that all losses share. Called after `weigh`."""


@runtime_checkable
class LooksAgain(Protocol):
    """A strategy that compares the losses before and after the optimizer's step, on the same shapes."""

    def after_step(self, losses_K: Tensor) -> None:
        """losses_K after the step. Called once a step."""


def to_constant_sum(weights_K: Tensor) -> Tensor:
    """The same balance with weights that sum to K: under Adam another sum changes what weight decay and gradient clipping do."""
    return weights_K * (len(weights_K) / weights_K.sum())


def check_state(state: Mapping[str, Any], names: set[str], losses: int) -> None:
    """ValueError unless `state` holds `names`, and its vectors `losses` numbers."""
    shapes = {name: list(value.shape) if isinstance(value, Tensor) else type(value).__name__ for name, value in state.items()}
    vectors = [value for value in state.values() if isinstance(value, Tensor) and value.dim()]
    if state.keys() != names or any(value.shape != (losses,) for value in vectors):
        wanted = ", ".join(sorted(names)) or "no state"
        raise ValueError(
            f"this weighting needs {wanted} of {losses} losses, but the checkpoint holds {shapes}: resume with the weighting it had"
        )


def own_optimizer(value: Tensor, rate: float, weight_decay: float = 0.0) -> torch.optim.Adam:
    """Adam over one small tensor of a strategy's own, fused: the plain one would read its step count back in each step."""
    return torch.optim.Adam([value], lr=rate, weight_decay=weight_decay, fused=True)
