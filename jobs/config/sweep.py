"""The section of a sweep: what is searched, how, and how the findings are confirmed."""
from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from jobs.config.strict import Count, Fraction, Strict

BASELINE = "static"  # the strategy that all others are compared with
UNTRAINED = "untrained"  # in place of a strategy where the encoder has random weights
FIXED = {"name", "normalise"}  # of a weighting: not searched


class Distribution(Strict):
    """Where a value comes from: exactly one of these."""

    loguniform: tuple[float, float] | None = Field(default=None, strict=False)  # between two numbers above 0, even in the logarithm
    uniform: tuple[float, float] | None = Field(default=None, strict=False)  # between two numbers
    randint: tuple[int, int] | None = Field(default=None, strict=False)  # a whole number from the first to below the second
    choice: Annotated[tuple[Any, ...], Field(strict=False, min_length=1)] | None = None  # one of these
    grid: Annotated[tuple[Any, ...], Field(strict=False, min_length=1)] | None = None  # each of these, crossed with every other grid

    @model_validator(mode="after")
    def _one_possible_range(self) -> Distribution:
        given = {name: value for name, value in self if value is not None}
        if len(given) != 1:
            raise ValueError(f"a distribution is one of {', '.join(type(self).model_fields)}; given: {', '.join(given) or 'none'}")
        (kind, values), = given.items()
        if kind in ("loguniform", "uniform", "randint"):
            low, high = values
            if not low < high or (kind == "loguniform" and low <= 0):
                above = ", the first above 0" if kind == "loguniform" else ""
                raise ValueError(f"{kind} [{low:g}, {high:g}] is an impossible range: give the lower number first{above}")
        return self

    @property
    def kind(self) -> str:
        """Which of them it is."""
        return next(name for name, value in self if value is not None)

    @property
    def values(self) -> tuple[Any, ...]:
        """Its numbers or its choices."""
        found: tuple[Any, ...] = getattr(self, self.kind)
        return found

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Values that stand for all: the ends of a range, every choice."""
        return (self.values[0], self.values[1] - 1) if self.kind == "randint" else self.values


Space = dict[str, Distribution]


class Search(Strict):
    """Phase one: many settings, most of them stopped early, one shared seed."""

    strategies: dict[str, Space]  # weighting strategy -> its own fields that are searched (none: one setting); static is the baseline
    shared: Space = {}  # fields of `pretrain` searched for every strategy alike, such as objective.temperature
    method: Literal["random", "grid", "optuna"] = "random"  # optuna: tree-structured Parzen estimator
    trials: Count = 8  # a strategy (grid: as many as the grid has)
    # asha: asynchronous successive halving; median: below the median of the others; pbt: population-based training, one worker a trial
    scheduler: Literal["asha", "median", "pbt", "none"] = "asha"
    grace_epochs: Count = 1  # epochs before a trial may be stopped (pbt: between two exchanges)
    reduction: Annotated[int, Field(ge=2)] = 3  # asha keeps one in so many at each rung

    @model_validator(mode="after")
    def _searchable(self) -> Search:
        for name in self.strategies:
            space = {**self.shared, **self.strategies[name]}
            loose = sorted(key for key, one in space.items() if one.kind not in ("grid", "choice"))
            if self.method == "grid" and loose:
                raise ValueError(f"sweep.search.method grid needs grids or choices, and {name} has {', '.join(loose)} as a range")
            gridded = sorted(key for key, one in space.items() if one.kind == "grid")
            if self.method == "optuna" and gridded:
                raise ValueError(f"sweep.search.method optuna chooses by itself: write {', '.join(gridded)} of {name} as choice, not grid")
        return self


class Confirm(Strict):
    """Phase two: each strategy's best setting at full length on fresh seeds; only this is reported."""

    seeds: Annotated[int, Field(ge=2)] = 5  # how many, shared by the strategies; from 1,000 above the pipeline's seed on
    confidence: Annotated[Fraction, Field(gt=0, lt=1)] = 0.95  # of the intervals of the differences to the baseline


class Sweep(Strict):
    """A search over weighting strategies and its confirmation."""

    search: Search
    confirm: Confirm = Confirm()
    normalise: bool = True  # scale all weights to a constant sum: strategies then differ in balance, not in the scale of the loss
    demonstration: bool = False  # too small to say anything: the report says so


def setting(pretrain: Mapping[str, Any], strategy: str, values: Mapping[str, Any], sweep: Sweep) -> dict[str, Any]:
    """A `pretrain` section as plain values under `strategy` with `values`, which name its own fields and the shared ones."""
    own = {key: value for key, value in values.items() if key in sweep.search.strategies[strategy]}
    section: dict[str, Any] = {**pretrain, "weighting": {"name": strategy, "normalise": sweep.normalise, **own}}
    for key, value in values.items():
        if key not in own:
            _put(section, key, value)
    return section


def samples(sweep: Sweep, strategy: str) -> list[dict[str, Any]]:
    """Settings that stand for the whole space: every field at each of its extremes, the others at their first."""
    space = {**sweep.search.shared, **sweep.search.strategies[strategy]}
    first = {key: one.extremes[0] for key, one in space.items()}
    return [first, *({**first, key: value} for key, one in space.items() for value in one.extremes[1:])]


def grid_of(space: Space) -> list[dict[str, Any]]:
    """Every combination of a grid."""
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*(one.values for one in space.values()))]


def unknown_field(key: str, known: list[str]) -> str:
    """What to say of a searched field that is none."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
    return f"unknown field {key!r}; did you mean {near[0]!r}?" if near else f"unknown field {key!r}: nothing can be searched here"


def _put(section: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for part in parents:
        section[part] = dict(section[part])
        section = section[part]
    section[last] = value
