"""A tiny job that asks a cluster for what a pipeline needs: `python -m jobs.preflight STORAGE [--exists PATH ...]`.

Prints one JSON line, {"nodes": n, "unreachable": {node: reason}, "missing": [path, ...], "stores": {uri: reason}}, and exits 1 when a node
cannot write where the driver reads, when a path is not there, or when a node does not read the prepared dataset at a URI.
"""
from __future__ import annotations

import argparse
import json
import sys
import uuid
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.config.places import looks_like_uri, place_of

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


@ray.remote(num_cpus=0, max_retries=0)
def _fault_on_node(uri: str) -> str:
    return fault(uri)


def fault(uri: str) -> str:
    """Why the manifest at `uri` cannot be read here; "" when it can."""
    from jobs.data import stores  # pyarrow, which the check of paths does without

    try:
        stores.check_there(place_of(uri))
    except ValueError as error:
        return str(error)
    return ""


def unread(uris: list[str]) -> dict[str, str]:
    """Those of `uris` that some node cannot read -> which, and why."""
    faults = {}
    for uri in uris:
        asked = {}
        for node in (node for node in ray.nodes() if node["Alive"]):
            strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asked[_fault_on_node.options(scheduling_strategy=strategy).remote(uri)] = node["NodeManagerHostname"]
        done, late = ray.wait(list(asked), num_returns=len(asked), timeout=TIMEOUT_S)
        said = [(asked[task], ray.get(task)) for task in done] + [(asked[task], f"no answer in {TIMEOUT_S:g} s") for task in late]
        wrong = next(((node, reason) for node, reason in said if reason), None)
        if wrong is not None:
            faults[uri] = f"node {wrong[0]}: {wrong[1]}"
    return faults


def main() -> None:
    cli = argparse.ArgumentParser(prog="python -m jobs.preflight", description=__doc__)
    cli.add_argument("storage", type=Path)
    cli.add_argument("--exists", nargs="*", default=[], metavar="PATH")
    args = cli.parse_args()
    ray.init(log_to_driver=False)
    nodes, faults = unreachable(args.storage)
    missing = [path for path in args.exists if not looks_like_uri(path) and not Path(path).exists()]
    stores = unread([path for path in args.exists if looks_like_uri(path)])
    print(json.dumps({"nodes": nodes, "unreachable": faults, "missing": missing, "stores": stores}), flush=True)
    sys.exit(1 if faults or missing or stores else 0)


if __name__ == "__main__":
    main()
