"""Results of benchmarks as lines that people read.

A result holds `benchmark`, its settings, and what `jobs.bench.fresh.compared` makes of two sides: `medians` in `unit`, the `ratio` of the
second to the first, the rounds' `ratios`; `target` ("at least 5"), or None; where memory was measured the same in MB, as `memory_medians`
and so on; `largest_relative_error` where the two sides' answers may differ.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

SETTINGS = ("side", "features", "device", "mode", "batch", "shapes", "points", "threads", "precision")  # of a result, in the table's order


@dataclass(frozen=True)
class Line:
    name: str
    settings: str
    medians: dict[str, float]  # by side
    unit: str
    ratio: float
    ratios: list[float]  # a round
    error: float | None
    target: str  # "-" where nothing was asked

    @property
    def met(self) -> str:
        """"yes" or "no"; nothing where nothing was asked."""
        if self.target.startswith("at least"):
            return "yes" if self.ratio >= float(self.target.split()[-1]) else "no"
        if self.target.startswith("at most"):
            return "yes" if self.ratio <= float(self.target.split()[-1]) else "no"
        return ""

    def cells(self) -> tuple[str, ...]:
        digits = 3 if self.unit == "s" else 0
        sides = (f"{side} {value:.{digits}f} {self.unit}" for side, value in self.medians.items())
        spread = f"{min(self.ratios):.2f}-{max(self.ratios):.2f}"
        error = "" if self.error is None else f"{self.error:.1e}"
        return (self.name, self.settings, *sides, f"{self.ratio:.2f}", spread, error, self.target, self.met)


def lines(results: list[dict[str, Any]]) -> Iterator[Line]:
    """One a measured ratio. The seconds of a single call, measured for its memory, are not one."""
    for result in results:
        settings = " ".join(f"{key} {result[key]}" for key in SETTINGS if key in result)
        error = result.get("largest_relative_error")
        for kind in ("", "memory_"):
            if f"{kind}ratio" in result and not (kind == "" and result.get("once")):
                name = f"{result['benchmark']} {kind.removesuffix('_')}".strip()
                unit, target = "MB" if kind else result["unit"], result.get(f"{kind}target") or "-"
                medians, ratio, ratios = (result[f"{kind}{key}"] for key in ("medians", "ratio", "ratios"))
                yield Line(name, settings, medians, unit, ratio, ratios, error, target)


def table(results: list[dict[str, Any]]) -> str:
    """Both sides, their ratio with its least and most over the rounds, the error, what was asked of the ratio, whether it was met."""
    head = ("benchmark", "settings", "one side", "other side", "ratio", "spread", "error", "target", "met")
    rows = [head, *(line.cells() for line in lines(results))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def missed(results: list[dict[str, Any]]) -> list[str]:
    """The ratios that were not what was asked."""
    return [f"{line.name} {line.settings}: {line.ratio:.2f}, asked: {line.target}" for line in lines(results) if line.met == "no"]
