"""Waits until a Ray cluster has as many nodes as it should: `python -m cluster.wait_for_nodes http://head:8265 COUNT`.

The token is read from RAY_AUTH_TOKEN_PATH. Exits 1, saying how many came, when they are not all there in time.
"""
from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path

import requests

_EVERY_S = 1.0


def living_nodes(address: str, token: str | None) -> int:
    """How many nodes are alive. Raises requests.RequestException while the job server does not answer, ValueError when it refuses us."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    response = requests.get(f"{address}/api/v0/nodes?limit=10000", headers=headers, timeout=5)
    if response.status_code in (401, 403):
        raise ValueError(f"{address} refuses the token of RAY_AUTH_TOKEN_PATH ({response.status_code}): the head was started with another")
    response.raise_for_status()
    return sum(row["state"] == "ALIVE" for row in response.json()["data"]["result"]["result"])


def wait(address: str, count: int, seconds: float, token: str | None) -> int:
    """Returns how many nodes are alive: `count` or more, or fewer after `seconds`."""
    until = time.monotonic() + seconds
    found = 0
    while True:
        with contextlib.suppress(requests.RequestException):  # the head is still starting
            found = living_nodes(address, token)
        if found >= count or time.monotonic() > until:
            return found
        time.sleep(_EVERY_S)


def main() -> None:
    cli = argparse.ArgumentParser(prog="python -m cluster.wait_for_nodes", description=__doc__)
    cli.add_argument("address")
    cli.add_argument("count", type=int)
    cli.add_argument("--seconds", type=float, default=300.0)
    args = cli.parse_args()
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    try:
        token = Path(path).expanduser().read_text().strip() if path else None
        found = wait(args.address, args.count, args.seconds, token)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    if found < args.count:
        sys.exit(f"error: {found} of {args.count} nodes joined {args.address} within {args.seconds:g} s: the others' output tells why")
    print(f"{found} node{'s'[: found != 1]} at {args.address}", flush=True)


if __name__ == "__main__":
    main()
