"""`python -m jobs.bench [NAME ...]`: speed as ratios measured in one run. Prints a table, writes `runs/bench.json`."""
from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

Say = Callable[[str], None]
SETTINGS = ("side", "device", "mode", "batch", "shapes", "points", "threads", "precision")  # of a row, in the table's order


def _measured(name: str) -> Callable[[int, Say], list[dict[str, Any]]]:
    """The benchmark's own `measure`, imported when it is asked for: some need Ray or the data readers, others torch and numpy alone."""

    def measure(rounds: int, say: Say) -> list[dict[str, Any]]:
        found = import_module(f"jobs.bench.{name}").measure(rounds, say)
        return found if isinstance(found, list) else [found]

    return measure


BENCHMARKS = {name: _measured(name) for name in ("encoder", "whole_step", "svm", "ray_step", "reading")}


def main() -> None:
    cli = argparse.ArgumentParser(prog="python -m jobs.bench", description=__doc__)
    cli.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(BENCHMARKS)} (none: all)")
    cli.add_argument("--rounds", type=int, default=3, help="interleaved A/B rounds (default 3)")
    cli.add_argument("--out", type=Path, default=Path("runs/bench.json"))
    args = cli.parse_args()
    unknown = sorted(set(args.names) - set(BENCHMARKS))
    if unknown:
        cli.error(f"no benchmark {', '.join(unknown)}: there are {', '.join(BENCHMARKS)}")
    machine = {"machine": platform.processor() or platform.machine(), "torch": torch.__version__, "threads": torch.get_num_threads()}
    results = [row for name in args.names or BENCHMARKS for row in BENCHMARKS[name](args.rounds, lambda line: print(line, flush=True))]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({**machine, "results": results}, indent=1))
    print(f"\n{table(results)}\n\nwritten to {args.out}")


def table(results: list[dict[str, Any]]) -> str:
    """One line a measured ratio: what, the two sides, the ratio, what was asked of it and whether it was met."""
    lines = [("benchmark", "settings", "ratio", "target", "met")]
    for result in results:
        settings = " ".join(f"{key} {result[key]}" for key in SETTINGS if key in result)
        for kind, ratio, target in (("", "ratio", "target"), ("memory", "memory_ratio", "memory_target")):
            if result.get(ratio) is None or (kind and result.get(target) is None) or (not kind and result.get("once")):
                continue
            asked = result.get(target) or "-"
            name = f"{result['benchmark']} {kind}".strip()
            lines.append((name, settings, f"{result[ratio]:.2f}", asked, _met(result[ratio], asked)))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def _met(ratio: float, asked: str) -> str:
    if asked.startswith("at least"):
        return "yes" if ratio >= float(asked.split()[-1]) else "no"
    if asked.startswith("at most"):
        return "yes" if ratio <= float(asked.split()[-1]) else "no"
    return ""


if __name__ == "__main__":
    main()
