"""Weighting strategies by the names that a config uses. K losses."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from jobs.losses.weighting.adacrossnet import AdaCrossNetWeights
from jobs.losses.weighting.dwa import DynamicWeightAverage
from jobs.losses.weighting.famo import FamoWeights
from jobs.losses.weighting.gradnorm import GradNormWeights
from jobs.losses.weighting.protocol import Weighting
from jobs.losses.weighting.random import RandomWeights
from jobs.losses.weighting.static import StaticWeights
from jobs.losses.weighting.uncertainty import UncertaintyWeights


@dataclass(frozen=True)
class Setting:
    """What a strategy may need to know of the training it serves."""

    losses: Sequence[str]  # their names, in the order of their numbers
    epoch_batches: int  # batches an epoch
    seed: int
    device: torch.device | str
    dtype: torch.dtype

    @property
    def placed(self) -> dict[str, Any]:
        """Where the state lives."""
        return {"device": self.device, "dtype": self.dtype}


def _static(setting: Setting, **weights: float) -> Weighting:
    missing = [name for name in setting.losses if name not in weights]
    if missing or len(weights) != len(setting.losses):
        raise ValueError(f"static weighting names weights of {', '.join(weights)}, but the losses are {', '.join(setting.losses)}")
    return StaticWeights([weights[name] for name in setting.losses], **setting.placed)


WEIGHTINGS: dict[str, Callable[..., Weighting]] = {
    "static": _static,
    "adacrossnet": lambda at, **values: AdaCrossNetWeights(len(at.losses), epoch_batches=at.epoch_batches, **at.placed, **values),
    "dwa": lambda at, **values: DynamicWeightAverage(len(at.losses), epoch_batches=at.epoch_batches, **at.placed, **values),
    "uncertainty": lambda at: UncertaintyWeights(len(at.losses), **at.placed),
    "gradnorm": lambda at, **values: GradNormWeights(len(at.losses), **at.placed, **values),
    "famo": lambda at, **values: FamoWeights(len(at.losses), **at.placed, **values),
    "random": lambda at: RandomWeights(len(at.losses), seed=at.seed, **at.placed),
}


def build_weighting(name: str, setting: Setting, **values: Any) -> Weighting:
    """The strategy `name`; `values` are its config section's fields but `name` and `normalise`. ValueError for an unknown name."""
    if name not in WEIGHTINGS:
        raise ValueError(f"no weighting is called {name!r}; there are {', '.join(sorted(WEIGHTINGS))}")
    return WEIGHTINGS[name](setting, **values)
