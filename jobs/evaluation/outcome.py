"""What an evaluation came to, whatever its task: metrics of the trained encoder and of random weights beside it."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Items = dict[str, tuple[list[str], list[float]]]  # score -> (ids, value) of the items that it is the mean of


@dataclass(frozen=True)
class Outcome:
    """Numbers, how they must be read, and what else there is to look at."""

    task: str
    metrics: dict[str, dict[str, float]]  # encoder (trained, random ...) -> metric -> value
    headline: tuple[str, ...]  # metrics that tables show
    protocol: dict[str, Any]
    gains: dict[str, dict[str, float]] = field(default_factory=dict)  # metric -> trained minus random, paired: mean, low, high
    items: Items = field(default_factory=dict)  # of the trained encoder
    listed: dict[str, Any] = field(default_factory=dict)  # name -> JSON value, an artifact each
    pictures: dict[str, Callable[[Path], None]] = field(default_factory=dict)  # name (PNG, or with .html a page) -> what draws it

    def facts(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "task": self.task,
            "scores": self.metrics,
            "headline": list(self.headline),
            "gains": self.gains,
            "protocol": self.protocol,
        }
