"""The embedded Ray head: job server and dashboard on loopback, token authentication, a small object store."""
from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

import requests

from cluster.ports import RAYS_OWN, claim, free_ports
from cluster.server import Server, start, wait_until

_OBJECT_STORE_BYTES = 200_000_000
_START_S = 120.0


def start_head(folder: Path, temp: Path, cpus: int, port: int | None, survives: bool) -> Server:
    """A head with `cpus` cores to give, its job server on `port` (none: a free one). Returns before it answers.

    `temp` must be short: Ray puts Unix sockets below it, whose paths end at 107 bytes.
    Raises ValueError when the port is taken.
    """
    dashboard = claim(port, "the Ray job server", "--ray-port")
    gcs, client, metrics, agent, agent_grpc, runtime_env = free_ports(6, RAYS_OWN | {dashboard})
    command = [
        sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats",
        f"--port={gcs}", "--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
        f"--ray-client-server-port={client}", f"--metrics-export-port={metrics}",
        f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={agent_grpc}", f"--runtime-env-agent-port={runtime_env}",
        "--min-worker-port=0", "--max-worker-port=0",
        f"--num-cpus={cpus}", f"--object-store-memory={_OBJECT_STORE_BYTES}", f"--temp-dir={temp}",
    ]  # fmt: skip
    env = _environment(token_file(folder))
    return start("the Ray head", command, env, folder / "ray.log", dashboard, survives, grace=10.0, remove=temp)


def wait_for_head(server: Server, folder: Path) -> None:
    """Returns when the job server answers and the node has registered; StartError otherwise."""
    headers = {"Authorization": f"Bearer {token_file(folder).read_text()}"}
    url = f"http://127.0.0.1:{server.port}"

    def answers() -> bool:
        if requests.get(f"{url}/api/jobs/", headers=headers, timeout=5).status_code != 200:
            return False
        nodes = requests.get(f"{url}/api/v0/nodes", headers=headers, timeout=5)
        return nodes.status_code == 200 and nodes.json()["data"]["result"]["total"] > 0

    wait_until(server, answers, _START_S)


def token_file(folder: Path) -> Path:
    """The cluster's token, written once, readable by its owner alone."""
    path = folder / "ray-token"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    return path


def _environment(token: Path) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "RAY_AUTH_TOKEN")}  # both would win over ours
    env.update(
        PATH=os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)]),  # a job's `python` is this one
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN_PATH=str(token.resolve()),
        RAY_USAGE_STATS_ENABLED="0",
        RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S="0",  # nothing else is there to take work over: with a job running it waits 30 s
        RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
        # Ray runs workers at nice 15, and then each small thing that the head does stops a training's threads: 15% of its speed.
        RAY_worker_niceness=os.environ.get("RAY_worker_niceness", "0"),  # noqa: SIM112 - Ray's own spelling
        MLFLOW_DISABLE_TELEMETRY="true",
        MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true",
        PYTHONUNBUFFERED="1",
    )
    return env
