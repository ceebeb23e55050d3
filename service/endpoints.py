"""Which cluster a pipeline runs on, and where that cluster answers now."""
from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cluster.local import LocalCluster, find_cluster
from jobs.config import Pipeline as Config
from service.home import Home
from service.tables import EMBEDDED, PRIVATE, UP


@dataclass(frozen=True)
class Target:
    """Where a pipeline is to run, as the ledger keeps it: a URL, or the embedded servers whose ports change."""

    cluster: str
    tracking: str


@dataclass(frozen=True)
class Endpoint:
    """Where the job server and MLflow answer now, and the bearer token of the job server (none: it asks for none)."""

    ray: str
    mlflow: str
    token: str | None


def choose(config: Config, home: Home) -> Target:
    """RAY_ADDRESS and MLFLOW_TRACKING_URI, else the config's, else the cluster of `up`, else one of the command's own.

    Raises ValueError for addresses that cannot work, or that a ledger shared by several machines needs and that are not given.
    """
    given = {
        "RAY_ADDRESS": os.environ.get("RAY_ADDRESS"), "cluster.address": config.cluster.address,
        "MLFLOW_TRACKING_URI": os.environ.get("MLFLOW_TRACKING_URI"), "tracking.uri": config.tracking.uri,
    }  # fmt: skip
    for name, url in given.items():
        if url:
            _refuse_credentials(url, name)  # also in an address that another one goes before: the whole config is on record
    ray = given["RAY_ADDRESS"] or given["cluster.address"]
    mlflow = given["MLFLOW_TRACKING_URI"] or given["tracking.uri"]
    if home.shared_ledger and not (ray and mlflow):
        raise ValueError(
            "ADACROSSNET_LEDGER names a ledger that several machines can share, and servers that this machine starts are not known to "
            "the others: set RAY_ADDRESS and MLFLOW_TRACKING_URI (or cluster.address and tracking.uri), or unset ADACROSSNET_LEDGER"
        )
    if mlflow:
        _check(mlflow, "MLFLOW_TRACKING_URI" if given["MLFLOW_TRACKING_URI"] else "tracking.uri", "an MLflow server, http://host:5000")
    shared = find_cluster(home.path)
    if shared is not None and not (shared.owner == UP and shared.alive()):
        shared = None
    if ray:
        name = "RAY_ADDRESS" if given["RAY_ADDRESS"] else "cluster.address"
        _check(ray, name, "a Ray job server, http://host:8265")
        local = urlsplit(ray).hostname in ("127.0.0.1", "localhost", "::1")
        if not mlflow and not (local and shared is not None and shared.tracking_uri):
            raise ValueError(
                f"{name} names a cluster ({ray}), but no MLflow server that its nodes reach is known: "
                "set MLFLOW_TRACKING_URI or tracking.uri"
            )
        return Target(ray.rstrip("/"), mlflow or EMBEDDED)
    if shared is not None and shared.address:
        return Target(UP, mlflow or EMBEDDED)
    return Target(PRIVATE, mlflow or EMBEDDED)


def resolve(cluster: str, tracking: str, home: Home, own: LocalCluster | None = None) -> Endpoint | None:
    """Where a target answers now; none when it needs an embedded cluster that is not there. `own` is the caller's private one."""
    local = own
    if local is None and (cluster == UP or tracking == EMBEDDED):
        local = find_cluster(home.path)
        if local is not None and not (local.owner == UP and local.alive()):
            local = None
    ray = (local.address if local else None) if cluster in (UP, PRIVATE) else cluster
    mlflow = (local.tracking_uri if local else None) if tracking == EMBEDDED else tracking
    if cluster == PRIVATE and own is None:
        return None
    if ray is None or mlflow is None:
        return None
    if cluster in (UP, PRIVATE):
        assert local is not None
        return Endpoint(ray, mlflow, local.token_path.read_text().strip())
    return Endpoint(ray, mlflow, token())


def tracking_of(tracking: str, home: Home) -> str | None:
    """Where a target's MLflow answers now, whether its job server does or not; none for an embedded one that is down."""
    if tracking != EMBEDDED:
        return tracking
    local = find_cluster(home.path)
    server = local.servers.get("mlflow") if local is not None and local.owner == UP else None
    return local.tracking_uri if local is not None and server is not None and server.identity.alive() else None


def token() -> str | None:
    """The token for clusters that this project did not start, from where Ray's own client would take it."""
    if value := os.environ.get("RAY_AUTH_TOKEN"):
        return value.strip()
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    if path:
        try:
            return Path(path).expanduser().read_text().strip()
        except OSError as error:
            raise ValueError(f"RAY_AUTH_TOKEN_PATH names {path}, which cannot be read ({error.strerror})") from None
    default = Path("~/.ray/auth_token").expanduser()
    if os.environ.get("RAY_AUTH_MODE") == "token" and default.exists():
        return default.read_text().strip()
    return None


def _check(url: str, name: str, kind: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{name} is {url!r}: it must be the URL of {kind}")


def _refuse_credentials(url: str, name: str) -> None:
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise ValueError(
            f"{name} holds credentials, which every job's description would show: take them out; "
            "the nodes read MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or ~/.mlflow/credentials, themselves"
        )
