"""The embedded cluster: one Ray head and one MLflow server, started and stopped together, known by a state file.

Below the state folder: `cluster/cluster.json` (what runs), `cluster/ray-token` (0600), the logs, and `mlflow/` (records, artifacts).
"""
from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from cluster.identity import Identity
from cluster.ray_head import start_head, token_file, wait_for_head
from cluster.server import Server, start
from cluster.tracking_server import start_tracking, wait_for_tracking

_GUARD = "cluster/guard.py"


class BrokenState(ValueError):
    """The state file cannot be read, so nobody knows what runs."""


class Occupied(RuntimeError):
    """Another command holds this state folder's cluster."""


@dataclass
class LocalCluster:
    """What runs now: its servers by name, who owns it (`up`, or the pid of a `run`), and where Ray keeps its session."""

    home: Path
    owner: str
    cpus: int
    temp: Path | None  # Ray's session; none without Ray
    servers: dict[str, Server] = field(default_factory=dict)
    lock: TextIO | None = None  # held as long as a `run` lives

    @property
    def address(self) -> str | None:
        """The job server's URL; none where Ray is not part of it."""
        return f"http://127.0.0.1:{self.servers['ray'].port}" if "ray" in self.servers else None

    @property
    def tracking_uri(self) -> str | None:
        """The MLflow server's URL; none where MLflow is not part of it."""
        return f"http://127.0.0.1:{self.servers['mlflow'].port}" if "mlflow" in self.servers else None

    @property
    def token_path(self) -> Path:
        """The file with Ray's token."""
        return self.home / "cluster" / "ray-token"

    def alive(self) -> bool:
        """Whether every server of it still runs; the submitter, which can be started again by itself, does not count."""
        return all(server.identity.alive() for name, server in self.servers.items() if name != "submitter")

    def dead(self) -> list[Server]:
        """The servers that ended by themselves."""
        return [server for server in self.servers.values() if not server.identity.alive()]

    def add(self, name: str, command: list[str], env: dict[str, str], grace: float = 10.0) -> Server:
        """Starts one more process that belongs to the cluster (the submitter), surviving this one."""
        log = self.home / "cluster" / f"{name}.log"
        self.servers[name] = start(f"the {name}", command, env, log, 0, survives=True, grace=grace)
        self.save()
        return self.servers[name]

    def stop(self) -> list[str]:
        """Stops exactly what was started; returns the names of what was still there."""
        submitter = self.servers.get("submitter")
        if submitter is not None and submitter.ask_to_stop():  # first: it must not see its cluster vanish
            submitter.wait_stopped()
        stopped = [name for name, server in self.servers.items() if server is submitter or server.ask_to_stop()]
        for server in self.servers.values():
            server.wait_stopped()
        if self.temp is not None:
            shutil.rmtree(self.temp, ignore_errors=True)
        _state_file(self.home).unlink(missing_ok=True)
        if self.lock is not None:
            self.lock.close()
            self.lock = None
        return stopped

    def save(self) -> None:
        """Writes the state file whole: to a temporary name, then renamed."""
        value = {
            "owner": self.owner, "cpus": self.cpus, "temp": str(self.temp) if self.temp else None,
            "servers": {
                name: {"process": server.identity.as_dict(), "log": str(server.log), "port": server.port, "name": server.name}
                for name, server in self.servers.items()
            },
        }  # fmt: skip
        path = _state_file(self.home)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(value, indent=1))
        os.replace(temporary, path)


def start_cluster(
    home: Path, *, survives: bool, cpus: int | None = None, ray_port: int | None = None, mlflow_port: int | None = None,
    ray: bool = True, mlflow: bool = True,
) -> LocalCluster:  # fmt: skip
    """Starts both servers side by side and returns when both answer.

    With `survives` they outlive this process (`up`), else the kernel ends them with it (`run`). Call from the main thread.
    What is left of a cluster that died halfway is stopped first; only `up` does that to a cluster of `up` that still runs in part.
    Raises Occupied when another command has a cluster here, ValueError for a port in use, StartError when a server does not come up.
    """
    home = home.resolve()
    folder = home / "cluster"
    folder.mkdir(parents=True, exist_ok=True)
    lock = _lock(home)
    try:
        running = find_cluster(home)
    except BrokenState:
        lock.close()
        raise
    if running is not None and running.alive():
        lock.close()
        where = f"job server {running.address}, MLflow {running.tracking_uri}"
        raise Occupied(f"a cluster of `{running.owner}` runs already under {home} ({where})")
    if running is not None and running.owner == "up" and not survives and len(gone := running.dead()) < len(running.servers):
        lock.close()
        names = " and ".join(server.name for server in gone)
        raise Occupied(
            f"{names} of `adacrossnet up` under {home} ended by itself, the rest still runs: "
            "`adacrossnet up` starts all again, `adacrossnet down` stops it"
        )
    if running is not None:
        running.stop()  # what is left of a cluster that died halfway
    owner = "up" if survives else f"run, pid {os.getpid()}"
    cluster = LocalCluster(home, owner, cpus or len(os.sched_getaffinity(0)), None, lock=lock)
    token_file(folder)
    try:
        if ray:
            cluster.temp = Path(tempfile.mkdtemp(prefix="acn-", dir="/tmp"))  # short: Unix sockets below it end at 107 bytes
            cluster.servers["ray"] = start_head(folder, cluster.temp, cluster.cpus, ray_port, survives)
            cluster.save()
        if mlflow:
            cluster.servers["mlflow"] = start_tracking(home / "mlflow", mlflow_port, survives)
            cluster.save()
        if mlflow:
            wait_for_tracking(cluster.servers["mlflow"])
        if ray:
            wait_for_head(cluster.servers["ray"], folder)
    except BaseException:  # Ctrl-C included: nothing that was started stays
        cluster.stop()
        raise
    if survives:
        lock.close()
        cluster.lock = None
    return cluster


def find_cluster(home: Path) -> LocalCluster | None:
    """The cluster that the state file tells of, whether it lives or not; none without a file.

    Raises BrokenState, with the way out, when the file is not what `save` wrote.
    """
    home = home.resolve()
    path = _state_file(home)
    try:
        value: dict[str, Any] = json.loads(path.read_text())
        servers = {
            name: Server(one["name"], Identity(**one["process"]), Path(one["log"]), one["port"]) for name, one in value["servers"].items()
        }
        return LocalCluster(home, value["owner"], value["cpus"], Path(value["temp"]) if value["temp"] else None, servers)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenState(
            f"{path}, which tells what runs here, is broken ({type(error).__name__}: {error}). Delete it, and if a cluster may still run, "
            f"end that first: `pgrep -af {_GUARD}` lists what watches its servers, and each ends its server on SIGTERM (`kill PID`)"
        ) from None


def _state_file(home: Path) -> Path:
    return home / "cluster" / "cluster.json"


def _lock(home: Path) -> TextIO:
    file = (home / "cluster" / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        other = find_cluster(home)
        who = f" (`{other.owner}`)" if other else ""
        raise Occupied(
            f"another command{who} has its own cluster under {home}: wait for it to end, or start a shared one with "
            "`adacrossnet up` and submit to that, or use another folder with --state"
        ) from None
    return file
