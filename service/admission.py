"""Whose turn it is: by priority, then by age, as long as the cluster, the limit at once and the owner's share allow it."""
from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from jobs.config import ConfigError, check
from jobs.config import Pipeline as Config
from service.endpoints import Endpoint
from service.ledger import Ledger, Waiting
from service.preflight import Unfit, check_fits, grows
from service.ray_jobs import ClusterAway, RayJobs
from service.settings import Settings
from service.tables import ENDED, Pipeline

_log = logging.getLogger("adacrossnet.submitter")
_LOOK_S = 10.0  # between two looks at what a cluster has


class Size(NamedTuple):
    """What a cluster has now."""

    nodes: list[dict[str, float]]
    autoscales: bool


@dataclass
class Admission:
    """Lets waiting pipelines run. `where` tells where a cluster answers (none: an embedded one that is down)."""

    ledger: Ledger
    settings: Settings
    where: Callable[[str, str], Endpoint | None]
    jobs: Callable[[Endpoint], RayJobs]
    _asks: dict[str, Config | str] = field(default_factory=dict)  # by waiting pipeline: its config, or why it is none
    _has: dict[Endpoint, tuple[float, Size | str]] = field(default_factory=dict)

    def admit(self, active: Sequence[Pipeline]) -> list[Pipeline]:
        """Those whose turn has come; the others' rows say what they wait for. `active`: what runs now."""
        waiting = self.ledger.waiting()
        running = [one for one in active if one.admitted and one.state not in ENDED]
        busy, owned = Counter(one.cluster for one in running), Counter(one.owner for one in running)
        reasons: dict[str, list[str]] = defaultdict(list)
        admitted = []
        for one in waiting:
            try:
                reason = self._reason(one, busy[one.cluster], owned[one.owner])
            except Exception as error:  # of one row; the others' turns must come
                _log.warning("%s cannot be admitted", one.id, exc_info=error, extra={"pipeline": one.id})
                reason = f"waits: it cannot be judged ({type(error).__name__}: {error})"
            if reason is None:
                busy[one.cluster] += 1
                owned[one.owner] += 1
                if self.ledger.admit(one.id):
                    admitted.append(self.ledger.get(one.id))
            elif reason != one.message:
                reasons[reason].append(one.id)
        for reason, pipelines in reasons.items():
            self.ledger.set_messages(pipelines, reason)
        if len(self._asks) > len(waiting):
            still = {one.id for one in waiting}
            self._asks = {pipeline: asks for pipeline, asks in self._asks.items() if pipeline in still}
        return admitted

    def _reason(self, one: Waiting, busy: int, owned: int) -> str | None:
        """What it waits for; none: nothing. The numbers in it are limits, which stay: rows are written when a reason changes."""
        if busy >= self.settings.at_once:
            return f"waits for its turn: {_at_most(self.settings.at_once)} at once on this cluster"
        share = self.settings.quota_of(one.owner).running
        if share is not None and owned >= share:
            return f"waits for its turn: {_at_most(share)} at once for {one.owner}"
        endpoint = self.where(one.cluster, one.tracking)
        if endpoint is None:
            return one.message or "waits: its cluster is down"
        has = self._nodes(endpoint)
        if isinstance(has, str):
            return f"waits: {has}"
        asks = self._config(one.id)
        if isinstance(asks, str):  # a config that is none any more fails when its first stage starts, and says why
            return None
        nodes, autoscales = has
        if grows(asks, autoscales):
            return None
        try:
            check_fits(asks, nodes, f"the cluster at {endpoint.ray}")
        except Unfit as unfit:
            return f"waits for room: {unfit}"
        return None

    def _config(self, pipeline: str) -> Config | str:
        if pipeline not in self._asks:
            try:
                self._asks[pipeline] = check(self.ledger.get(pipeline).config, "its stored config")
            except ConfigError as error:
                self._asks[pipeline] = str(error)
        return self._asks[pipeline]

    def _nodes(self, endpoint: Endpoint) -> Size | str:
        """What each node has and whether more come; why a cluster that does not answer is away."""
        when, has = self._has.get(endpoint, (0.0, ""))
        if time.monotonic() - when > _LOOK_S or when == 0.0:
            jobs = self.jobs(endpoint)
            try:
                has = Size(jobs.nodes(), jobs.autoscales())
            except ClusterAway as error:
                has = str(error)
            self._has[endpoint] = (time.monotonic(), has)
        return has


def _at_most(count: int) -> str:
    return "1 pipeline runs" if count == 1 else f"at most {count} pipelines run"
