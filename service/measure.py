"""What the service costs and how fast it is, measured on this machine with real servers: `python -m service.measure [api] [submit]`.

`api`: the service's start and memory, a thousand pipelines submitted by fifty at once, and the queue after a kill. `submit`: from
`adacrossnet submit` to the first training step on a cluster that is up, and what that time is made of. Prints a table and writes JSON.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from rich.console import Console
from rich.table import Table

from service.home import Home
from service.ledger import Ledger
from service.ray_jobs import RayJobs

PIPELINES, AT_ONCE = 1000, 50
P99_S, START_S, RESTORED_S, MEMORY_MB, FIRST_STEP_S = 0.5, 3.0, 10.0, 250.0, 25.0
_LISTENING = re.compile(r"listening on (http://[\d.]+:\d+)")
_CONFIG = {"name": "load", "data": {"kind": "synthetic"}, "cluster": {"min_free_gb": 0.0}}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m service.measure", description=__doc__)
    parser.add_argument("what", nargs="*", help="api, submit; both without any")
    parser.add_argument("--out", type=Path, default=Path("runs/bench-service.json"))
    asked = parser.parse_args()
    if unknown := set(asked.what) - {"api", "submit"}:
        parser.error(f"there is no measurement {', '.join(unknown)}")
    rows: list[tuple[str, float, str, float]] = []
    with tempfile.TemporaryDirectory(prefix="measure-") as folder:
        for name, measure in (("api", api), ("submit", submit)):
            if not asked.what or name in asked.what:
                rows += measure(Path(folder) / name)
    table = Table(title=f"The service, {os.cpu_count()} cores", title_justify="left")
    for column in ("what", "measured", "at most", "met"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for what, value, unit, most in rows:
        bound = f"{most:g} {unit}" if most else "-"
        table.add_row(what, f"{value:.3g} {unit}", bound, "" if not most else "yes" if value <= most else "NO")
    Console(width=120).print(table)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps([dict(zip(("what", "value", "unit", "most"), row, strict=True)) for row in rows], indent=1))
    sys.exit(any(most and value > most for _, value, _, most in rows))


def api(folder: Path) -> list[tuple[str, float, str, float]]:
    """A thousand submissions by fifty at once, with an idempotency key each; nothing lost, nothing twice."""
    folder.mkdir()
    with _serving(folder) as (url, process, start):
        rows = [("start of the service until it is ready", start, "s", START_S)]

        def ask(number: int) -> tuple[float, str]:
            began = time.perf_counter()
            # One process a client would take more of the cores than the service: threads, each with a connection of its own.
            answer = requests.post(f"{url}/v1/pipelines", json={"config": _CONFIG}, headers={"Idempotency-Key": f"n{number}"}, timeout=60)
            assert answer.status_code == 201, answer.text
            return time.perf_counter() - began, answer.json()["pipeline"]

        began = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = list(pool.map(ask, range(PIPELINES)))
        total = time.perf_counter() - began
        seconds = sorted(one for one, _ in found)
        assert len({pipeline for _, pipeline in found}) == PIPELINES
        assert requests.get(f"{url}/v1/queue?limit=1", timeout=10).json()["length"] == PIPELINES, "none is lost, none is there twice"
        rows += [
            (f"{PIPELINES} submissions, {AT_ONCE} at once: the slowest of a hundred", seconds[int(PIPELINES * 0.99)], "s", P99_S),
            ("the same: median", statistics.median(seconds), "s", 0.0),
            ("the same: submissions a second", PIPELINES / total, "/s", 0.0),
            ("memory of the service with them (RSS)", _rss_mb(process.pid), "MB", MEMORY_MB),
        ]
        time.sleep(3)
        before, since = _cpu_s(process.pid), time.perf_counter()
        time.sleep(10)
        rows.append(("share of a core while they wait", (_cpu_s(process.pid) - before) / (time.perf_counter() - since), "", 0.05))
        process.send_signal(signal.SIGKILL)
        process.wait()
    began = time.perf_counter()
    with _serving(folder) as (url, _, _):
        assert requests.get(f"{url}/v1/queue?limit=1", timeout=10).json()["length"] == PIPELINES
        while not requests.get(f"{url}/readyz", timeout=10).json()["leader"]:
            time.sleep(0.05)
        rows.append(("the queue is led again after kill -9", time.perf_counter() - began, "s", RESTORED_S))
    return rows


def submit(folder: Path) -> list[tuple[str, float, str, float]]:
    """A dataset that is prepared already, a small training, an embedded cluster that has run one before."""
    folder.mkdir()
    prepared = folder / "prepared"
    _command(folder, "data", "prepare", "synthetic", "-", str(prepared), "--shapes", "120", "--points", "256", "--views", "1")
    config = {
        "name": "first-step", "data": {"kind": "prepared", "target": str(prepared)}, "evaluate": {"points": 128},
        "pretrain": {
            "backbone": {"name": "dgcnn", "k": 10}, "image": {"tower": "resnet18", "size": 32}, "epochs": 1, "batch": 8, "points": 128,
            "loader_workers": 0, "log_every": 1,
        },
        "cluster": {"min_free_gb": 0.0},
    }  # fmt: skip
    (folder / "config.yaml").write_text(json.dumps(config))
    _command(folder, "up")
    try:
        rows = []
        for warm in (False, True):
            marks = _until_first_step(folder)
            if warm:
                names = ("the command returns", "prepare is submitted", "prepare has ended", "pretrain is submitted", "its driver speaks")
                rows = [(f"submit: until {name}", marks[name], "s", 0.0) for name in names]
                rows.append(("submit: until the first training step", marks["first step"], "s", FIRST_STEP_S))
        return rows
    finally:
        _command(folder, "down")


def _until_first_step(folder: Path) -> dict[str, float]:
    home = Home(folder / "runs")
    began = time.time()
    pipeline = _command(folder, "submit", "config.yaml").strip().splitlines()[-1]
    marks = {"the command returns": time.time() - began}
    ledger = Ledger(home.ledger_url)
    jobs = RayJobs(*_ray(home))
    until = time.time() + 180
    while "first step" not in marks:
        assert time.time() < until, ledger.get(pipeline).message
        stages = {stage.name: stage for stage in ledger.get(pipeline).stages}
        for name in ("prepare", "pretrain"):
            attempts = stages[name].attempts
            if attempts and attempts[0].started:
                marks.setdefault(f"{name} is submitted", attempts[0].started - began)
            if attempts and attempts[0].ended:
                marks.setdefault(f"{name} has ended", attempts[0].ended - began)
        if stages["pretrain"].attempts:
            log = jobs.logs(stages["pretrain"].attempts[0].job_id)
            if "pretrain: " in log:
                marks.setdefault("its driver speaks", time.time() - began)
            if re.search(r"pretrain: epoch 1/1 step 1/", log):
                marks["first step"] = time.time() - began
        time.sleep(0.1)
    while ledger.get(pipeline).state not in ("succeeded", "failed", "cancelled"):
        time.sleep(0.5)
    ledger.close()
    return marks


def _ray(home: Home) -> tuple[str, str]:
    from cluster.local import find_cluster

    local = find_cluster(home.path)
    assert local is not None
    assert local.address is not None
    return local.address, local.token_path.read_text().strip()


def _command(folder: Path, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "service.cli", *arguments], cwd=folder, env=_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _environment() -> dict[str, str]:
    left_out = ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")
    kept = {key: value for key, value in os.environ.items() if key not in left_out and not key.startswith("ADACROSSNET_")}
    return {**kept, "PYTHONPATH": str(Path(__file__).parents[1])}


@contextmanager
def _serving(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes], float]]:
    """A service: its URL, its process, seconds until it was ready."""
    log = folder / f"serve-{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", "service.cli", "serve", "--port", "0", "--state", str(folder / "runs")]
    began = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env=_environment(), stdout=out, stderr=subprocess.STDOUT)
    try:
        url = _until(lambda: match[1] if (match := _LISTENING.search(log.read_text())) else None)
        _until(lambda: _ready(url))
        yield url, process, time.perf_counter() - began
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=2).ok
    except requests.RequestException:
        return False


def _until(found: Callable[[], Any], seconds: float = 60.0) -> Any:
    until = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return value


def _rss_mb(pid: int) -> float:
    import psutil

    return float(psutil.Process(pid).memory_info().rss / 1e6)


def _cpu_s(pid: int) -> float:
    import psutil

    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
