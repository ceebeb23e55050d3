"""Weighting strategies by the names that a config uses. K losses: intra-modal, cross-modal."""
from __future__ import annotations

from collections.abc import Callable

import torch

from jobs.losses.weighting.adacrossnet import AdaCrossNetWeights
from jobs.losses.weighting.protocol import Weighting
from jobs.losses.weighting.static import StaticWeights


def _static(losses: int, device: torch.device | str, dtype: torch.dtype, *, intra: float, cross: float) -> Weighting:
    if losses != 2:
        raise ValueError(f"static weighting names two weights, intra and cross, but there are {losses} losses")
    return StaticWeights([intra, cross], device, dtype)


def _adacrossnet(
    losses: int, device: torch.device | str, dtype: torch.dtype, *, alpha: float, beta: float, normalise: bool
) -> Weighting:
    return AdaCrossNetWeights(losses, alpha, beta, normalise, device, dtype)


WEIGHTINGS: dict[str, Callable[..., Weighting]] = {"static": _static, "adacrossnet": _adacrossnet}


def build_weighting(name: str, losses: int, device: torch.device | str, dtype: torch.dtype, **settings: float | bool) -> Weighting:
    """The strategy `name` for `losses` losses; `settings` are its config section's fields but `name`. ValueError for an unknown name."""
    if name not in WEIGHTINGS:
        raise ValueError(f"no weighting is called {name!r}; there are {', '.join(sorted(WEIGHTINGS))}")
    return WEIGHTINGS[name](losses, device, dtype, **settings)
