"""Which trainings a supervised task is made of, and the splits of each."""
from __future__ import annotations

from typing import Any, NamedTuple

from jobs.config.places import Place
from jobs.data.loading import evaluable_splits
from jobs.data.prepared import PreparedDataset
from jobs.finetuning.folds import fold

SIDES = ("trained", "random")


class Training(NamedTuple):
    """One of them."""

    side: str  # where the encoder starts: of SIDES
    fraction: float = 1.0  # of the labels
    area: int | None = None  # held out; none: the dataset's own splits

    @property
    def name(self) -> str:
        """In paths and metrics."""
        return f"{self.side}-{100 * self.fraction:g}pct" + (f"-area{self.area}" if self.area else "")

    @property
    def said(self) -> str:
        """For people."""
        held = f", Area_{self.area} held out" if self.area else ""
        return f"{self.side}{held}" if self.fraction == 1 else f"{self.side}, {100 * self.fraction:g}% of the labels{held}"


def plan(settings: Any) -> list[Training]:
    """Every training, each with its like from random weights after it."""
    fractions = settings.fractions if settings.task == "finetune" else (1.0,)
    areas = (settings.areas or (None,)) if settings.task == "scenes" else (None,)
    return [Training(side, fraction, area) for area in areas for fraction in fractions for side in SIDES]


def splits_of(folder: Place, settings: Any, area: int | None) -> dict[str, PreparedDataset]:
    """Train, val and test of the trainings that hold `area` out, without empty ones."""
    return evaluable_splits(folder) if area is None else fold(folder, area, settings.val_share)
