"""`python -m jobs.bench [NAME ...]`: speed as ratios measured in one run. Prints a table, writes `runs/bench.json`."""
from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Say = Callable[[str], None]


def _ray_step(rounds: int, say: Say) -> dict[str, Any]:
    from jobs.bench.ray_step import measure

    return measure(rounds, say)


def _reading(rounds: int, say: Say) -> dict[str, Any]:
    from jobs.bench.reading import measure

    return measure(rounds, say)


BENCHMARKS: dict[str, Callable[[int, Say], dict[str, Any]]] = {"ray_step": _ray_step, "reading": _reading}


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
    results = [BENCHMARKS[name](args.rounds, lambda line: print(line, flush=True)) for name in args.names or BENCHMARKS]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({**machine, "results": results}, indent=1))
    print()
    for result in results:
        for key, value in result.items():
            shown = f"{value:.3g}" if isinstance(value, float) else value
            print(f"{result['benchmark']:>10}  {key:<24} {shown}" if key != "benchmark" else "", flush=True)
    print(f"\nwritten to {args.out}")


if __name__ == "__main__":
    main()
