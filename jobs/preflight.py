"""A tiny job that asks a cluster for what a pipeline needs: `python -m jobs.preflight STORAGE [--exists PATH ...]`.

Prints one JSON line, {"nodes": n, "unreachable": {node: reason}, "missing": [path, ...]}, and exits 1 when a node cannot write where the
driver reads, or when a path is not there.
"""
from __future__ import annotations

import argparse
import json
import sys
import uuid
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

TIMEOUT_S = 60.0


@ray.remote(num_cpus=0, max_retries=0)
def _write(folder: str, name: str) -> str:
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / name).write_text(name)
    except OSError as error:
        return f"cannot write there: {error}"
    return ""


def unreachable(folder: Path) -> tuple[int, dict[str, str]]:
    """(nodes asked, node -> why `folder` is not shared with it)."""
    folder.mkdir(parents=True, exist_ok=True)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    asked = {}
    for node in nodes:
        name = f".reach-{uuid.uuid4().hex}"
        strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        asked[_write.options(scheduling_strategy=strategy).remote(str(folder), name)] = (node["NodeManagerHostname"], folder / name)
    done, late = ray.wait(list(asked), num_returns=len(asked), timeout=TIMEOUT_S)
    faults = {asked[task][0]: f"did not answer within {TIMEOUT_S:g} s" for task in late}
    for task in done:
        host, path = asked[task]
        reason = ray.get(task)
        if not reason and not path.is_file():
            reason = "what it writes there is not seen by the driver: the folder is not shared"
        if reason:
            faults[host] = reason
        path.unlink(missing_ok=True)
    return len(nodes), faults


def main() -> None:
    cli = argparse.ArgumentParser(prog="python -m jobs.preflight", description=__doc__)
    cli.add_argument("storage", type=Path)
    cli.add_argument("--exists", type=Path, nargs="*", default=[], metavar="PATH")
    args = cli.parse_args()
    ray.init(log_to_driver=False)
    nodes, faults = unreachable(args.storage)
    missing = [str(path) for path in args.exists if not path.exists()]
    print(json.dumps({"nodes": nodes, "unreachable": faults, "missing": missing}), flush=True)
    sys.exit(1 if faults or missing else 0)


if __name__ == "__main__":
    main()
