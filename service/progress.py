"""What running stages say of themselves: the last progress line of each job's log, and the speed in it."""
from __future__ import annotations

import re
import threading
import time

from service.endpoints import Endpoint, resolve
from service.follow import LogReader
from service.home import Home
from service.job_log import latest_progress
from service.ledger import Ledger
from service.ray_jobs import RayJobs
from service.tables import RUNNING

_SPEED = re.compile(r"(\d+(?:\.\d+)?) clouds/s")
_FIRST_S = 5.0  # that the first answer is waited for
_KEPT_S = 5.0  # an answer serves everybody who asks within this time


class Progress:
    """Of all pipelines that run on shared clusters. Safe to ask from several threads."""

    def __init__(self, ledger: Ledger, home: Home) -> None:
        self._ledger, self._home = ledger, home
        self._readers: dict[tuple[str, str], LogReader] = {}
        self._said: tuple[float, dict[tuple[str, str], str]] | None = None
        self._lock = threading.Lock()

    def lines(self) -> dict[tuple[str, str], str]:
        """(pipeline, stage) -> its last line, of those that have said one. A cluster that is away says nothing."""
        said = self._said
        if said is not None and time.monotonic() - said[0] < _KEPT_S:
            return said[1]
        if not self._lock.acquire(blocking=said is None, timeout=-1 if said is not None else _FIRST_S):
            return said[1] if said is not None else {}  # somebody asks a slow cluster already
        try:
            found = self._read()
            self._said = (time.monotonic(), found)
            return found
        finally:
            self._lock.release()

    def speeds(self) -> dict[tuple[str, str], float]:
        """(pipeline, stage) -> clouds a second, of those that train."""
        found = {key: _SPEED.search(line) for key, line in self.lines().items()}
        return {key: float(match[1]) for key, match in found.items() if match}

    def _read(self) -> dict[tuple[str, str], str]:
        found: dict[tuple[str, str], str] = {}
        readers: dict[tuple[str, str], LogReader] = {}
        for row in self._ledger.active():
            for stage in row.stages:
                if stage.state != RUNNING or not stage.attempts or stage.attempts[-1].state != RUNNING:
                    continue
                endpoint: Endpoint | None = resolve(row.cluster, row.tracking, self._home)
                if endpoint is None:
                    continue
                key = (row.id, stage.name)
                readers[key] = self._readers.get(key) or LogReader(RayJobs(endpoint.ray, endpoint.token))
                if line := latest_progress(readers[key].read(stage.attempts[-1].job_id), stage.name):
                    found[key] = line
        self._readers = readers
        return found
