"""Ray Jobs over its REST API with a time limit on every call; submitting alone goes through Ray's own client (it uploads the tree)."""
from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from jobs.config.sections import Driver

_TIMEOUT_S = (5, 30)  # to connect, to answer

PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED = "PENDING", "RUNNING", "SUCCEEDED", "FAILED", "STOPPED"  # Ray's names
TERMINAL = (SUCCEEDED, FAILED, STOPPED)
ACCELERATOR = "accelerator_type:"  # of a node's resources
_UNNAMED = re.compile(r"node_?[0-9a-f]{32,}", re.IGNORECASE)


class ClusterAway(RuntimeError):
    """The job server does not answer, or refuses us."""


@dataclass(frozen=True)
class Job:
    """What the job server knows of a job. Times are seconds since 1970."""

    status: str
    message: str
    started: float | None
    ended: float | None


class RayJobs:
    """A job server."""

    def __init__(self, address: str, token: str | None) -> None:
        self.address = address.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def job(self, job_id: str) -> Job | None:
        """The job, or none when the server does not know it."""
        response = self._call("GET", f"/api/jobs/{job_id}", job_id)
        if response is None:
            return None
        with self._readable():
            value = response.json()
            return Job(value["status"], value.get("message") or "", _seconds(value.get("start_time")), _seconds(value.get("end_time")))

    def submit(
        self, job_id: str, entrypoint: str, working_dir: Path, env: dict[str, str], metadata: dict[str, str], driver: Driver | None = None
    ) -> None:
        """Starts the job unless the server knows its id already: asking twice starts it once. `driver`: what it reserves."""
        if self.job(job_id) is not None:
            return
        from ray.job_submission import JobSubmissionClient  # 0.7 s

        for handler in logging.getLogger("ray").handlers:
            handler.setLevel(logging.WARNING)  # it tells of each upload, whatever its loggers' levels
        try:
            client = JobSubmissionClient(self.address, headers=dict(self._headers))
            runtime_env: dict[str, Any] = {"working_dir": str(working_dir), "env_vars": env}
            client.submit_job(
                entrypoint=entrypoint, submission_id=job_id, runtime_env=runtime_env, metadata=metadata, **_reserved(driver or Driver())
            )
        except (RuntimeError, ConnectionError, requests.RequestException) as error:
            if self.job(job_id) is None:  # else another one submitted it between the question and ours
                raise ClusterAway(f"the job server at {self.address} did not take the job {job_id}: {error}") from None

    def stop(self, job_id: str) -> None:
        """Asks the job to stop; nothing happens when it has ended."""
        self._call("POST", f"/api/jobs/{job_id}/stop", job_id)

    def logs(self, job_id: str) -> str:
        """Everything the job printed so far; '' when the server does not know it."""
        response = self._call("GET", f"/api/jobs/{job_id}/logs", job_id)
        with self._readable():
            return "" if response is None else str(response.json()["logs"])

    def nodes(self) -> list[dict[str, float]]:
        """Each living node's total resources (`CPU`, `GPU`, `memory` …)."""
        response = self._call("GET", "/api/v0/nodes?limit=10000&detail=1")
        assert response is not None
        with self._readable():
            rows = response.json()["data"]["result"]["result"]
            return [dict(row["resources_total"]) for row in rows if row["state"] == "ALIVE"]

    def autoscales(self) -> bool:
        """Whether an autoscaler runs the cluster: then its present size is no limit.

        A head without one reports too, but calls each node type `node_<the node's id>`; an autoscaler's types have names of their own.
        """
        response = self._call("GET", "/api/cluster_status?format=0")
        assert response is not None
        with self._readable():
            status = (response.json().get("data") or {}).get("clusterStatus") or {}
            types = (status.get("autoscalerReport") or {}).get("activeNodes") or {}
        return any(not _UNNAMED.fullmatch(name) for name in types)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """An answer that is not a job server's (a proxy's login page) is none."""
        try:
            yield
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ClusterAway(f"what answers at {self.address} is no Ray job server ({type(error).__name__})") from None

    def _call(self, method: str, path: str, job_id: str | None = None) -> requests.Response | None:
        """The answer; none when the job server itself says that it does not know `job_id`."""
        try:
            response = requests.request(method, self.address + path, headers=self._headers, timeout=_TIMEOUT_S)
        except requests.RequestException as error:
            raise ClusterAway(f"the cluster at {self.address} does not answer ({type(error).__name__}): is its head still up?") from None
        # Ray's own words: the 404 of a proxy whose head is away must not start a second job of the same stage.
        if job_id is not None and response.status_code == 404 and f"Job {job_id} does not exist" in response.text:
            return None
        if response.status_code in (401, 403):
            raise ClusterAway(
                f"the cluster at {self.address} refuses us ({response.status_code}): it wants a token; "
                "put it in a file and name that in RAY_AUTH_TOKEN_PATH"
            )
        if not response.ok:
            raise ClusterAway(f"the cluster at {self.address} answered {response.status_code} to {path}: {response.text[:300]}")
        return response


def _reserved(driver: Driver) -> dict[str, Any]:
    """As Ray's client takes it. Without any of them the driver runs on the head."""
    asked: dict[str, Any] = {"entrypoint_num_cpus": driver.cpus or None, "entrypoint_num_gpus": driver.gpus or None}
    if driver.accelerator_type is not None:
        asked["entrypoint_resources"] = {f"{ACCELERATOR}{driver.accelerator_type}": 0.001}  # Ray's own way to ask for one
    return {key: value for key, value in asked.items() if value is not None}


def _seconds(milliseconds: float | None) -> float | None:
    return milliseconds / 1000 if milliseconds else None
