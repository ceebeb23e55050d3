"""`python -m jobs.bench [NAME ...]`: speed as ratios measured in one run. Prints a table, writes `runs/bench.json`.

A benchmark whose imports are not installed is skipped, saying so. The exit status is 1 when one failed or a ratio was not what was asked.
"""
from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from jobs.bench.table import missed, table


def _measured(name: str) -> Callable[..., list[dict[str, Any]]]:
    """The benchmark's own `measure`, imported when it is asked for: some need Ray or the data readers, others torch and numpy alone."""

    def measure(rounds: int, say: Callable[[str], None], **options: Any) -> list[dict[str, Any]]:
        found = import_module(f"jobs.bench.{name}").measure(rounds, say, **options)
        return found if isinstance(found, list) else [found]

    return measure


BENCHMARKS = {name: _measured(name) for name in ("encoder", "whole_step", "svm", "ray_step", "reading", "preparing", "probe_share")}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    cli = argparse.ArgumentParser(prog="python -m jobs.bench", description=__doc__)
    cli.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(BENCHMARKS)} (none: all)")
    cli.add_argument("--rounds", type=int, default=3, help="interleaved A/B rounds (default 3)")
    cli.add_argument("--out", type=Path, default=Path("runs/bench.json"))
    cli.add_argument("--features", type=Path, metavar="FILE.npz", help="for svm: features [N, D] and labels [N] (none: made up)")
    cli.add_argument("--train-share", type=float, default=0.8, help="the first rows of --features that are for training (default 0.8)")
    args = cli.parse_args(arguments)
    unknown = sorted(set(args.names) - set(BENCHMARKS))
    if unknown:
        cli.error(f"no benchmark {', '.join(unknown)}: there are {', '.join(BENCHMARKS)}")
    if args.rounds < 1:
        cli.error(f"--rounds {args.rounds}: at least 1")
    options: dict[str, dict[str, Any]] = {}
    if args.features is not None:
        if args.names and "svm" not in args.names:
            cli.error(f"--features {args.features} is for svm: name it too")
        options["svm"] = {"given": (args.features, args.train_share)}
        try:  # before anything is measured
            import_module("jobs.bench.svm").read_features(*options["svm"]["given"])
        except ValueError as error:
            cli.error(str(error))
    return run(args.names or list(BENCHMARKS), args.rounds, args.out, options)


def run(names: Sequence[str], rounds: int, out: Path, options: dict[str, dict[str, Any]]) -> int:
    """Every benchmark, `out` written after each; the exit status."""
    record: dict[str, Any] = {**machine(), "results": [], "skipped": {}, "failed": {}}
    for name in names:
        try:
            record["results"] += BENCHMARKS[name](rounds, lambda line: print(line, flush=True), **options.get(name, {}))
        except Exception as error:
            lacks = isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("jobs")
            record["skipped" if lacks else "failed"][name] = f"{type(error).__name__}: {error}"
            if not lacks:
                traceback.print_exc()
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(record, indent=1))
    print(f"\n{', '.join(f'{key} {value}' for key, value in machine().items())}\n{table(record['results'])}\n")
    for outcome in ("skipped", "failed"):
        for name, reason in record[outcome].items():
            print(f"{outcome}: {name}: {reason}")
    for line in missed(record["results"]):
        print(f"missed: {line}")
    print(f"written to {out}")
    return 1 if record["failed"] or missed(record["results"]) else 0


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.+)$", cpuinfo.read_text() if cpuinfo.exists() else "", re.MULTILINE)
    found = {
        "machine": model.group(1).strip() if model else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    return {**found, "gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else found


if __name__ == "__main__":
    sys.exit(main())
