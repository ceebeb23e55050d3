"""What people ask of the service: the same steps whether they come over the API or from a command on this machine."""
from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from jobs.config import ConfigError, check
from jobs.config import Pipeline as Config
from jobs.config.places import Place
from service.endpoints import Endpoint, Target, choose, resolve, tracking_of
from service.home import Home
from service.ledger import Ledger, Repeated
from service.preflight import check_local
from service.roots import check_paths
from service.settings import Settings
from service.tables import ENDED, PRIVATE, SUCCEEDED, UP, Act, Pipeline, Request
from service.tokens import Person

PRIORITIES = range(-100, 101)
_MOST_BYTES = 100_000  # of a resolved config: a job gets it in one environment variable, of which Linux takes 128 KiB
_KEPT_S = 1.0  # where the cluster answers is looked up this often


class Forbidden(ValueError):
    """Somebody else's pipeline, or more than the role allows."""


class Conflict(ValueError):
    """What is asked does not go with the state that the pipeline is in."""


class KeyReused(ValueError):
    """An idempotency key that came before with another request."""


class Queued(NamedTuple):
    """A pipeline that stands in the ledger."""

    id: str
    stages: tuple[str, ...]
    new: bool  # whether this request made it


def service_target(home: Home) -> Target:
    """Where a service's pipelines run: RAY_ADDRESS and MLFLOW_TRACKING_URI, or the cluster of `up`, whether it is there now or not."""
    found = choose(Config.model_validate({"data": {"kind": "synthetic"}}), home)
    return Target(UP, found.tracking) if found.cluster == PRIVATE else found


@dataclass(frozen=True)
class Operations:
    """The service over one ledger. `roots` are absolute; relative paths of configs start at the first folder among them."""

    ledger: Ledger
    home: Home
    settings: Settings
    roots: tuple[Place, ...]
    target: Target
    _seen: dict[Target, tuple[float, Endpoint | None]] = field(default_factory=dict)

    def endpoint(self) -> Endpoint | None:
        """Where pipelines run now, as of a second ago; none for an embedded cluster that is down."""
        when, found = self._seen.get(self.target, (0.0, None))
        if not when or time.monotonic() - when > _KEPT_S:
            found = resolve(self.target.cluster, self.target.tracking, self.home)
            self._seen[self.target] = (time.monotonic(), found)
        return found

    def tracking(self) -> str | None:
        """Where MLflow answers now, also while the job server is away; none for an embedded one that is down."""
        return tracking_of(self.target.tracking, self.home)

    def submit(self, values: dict[str, Any], person: Person, priority: int, key: str | None, act: Act | None = None) -> Queued:
        """Queues a pipeline, unless the same came before with the same key. `act`: the line of the audit trail that goes with it.

        Raises ConfigError, OutsideRoots, Unfit, OverQuota, KeyReused, and Forbidden for addresses that a config may not set here.
        """
        digest = hashlib.sha256(json.dumps([values, priority], sort_keys=True, default=str).encode()).hexdigest()
        if key is not None and (before := self.ledger.request(person.name, key)) is not None:
            return self._before(before, digest)
        config = check(values, "config")
        self._check_shares(config, person, priority)
        target = self.target
        for name, address, ours in (
            ("cluster.address", config.cluster.address, target.cluster), ("tracking.uri", config.tracking.uri, target.tracking),
        ):  # fmt: skip
            if address is not None and address.rstrip("/") != ours.rstrip("/"):
                raise Forbidden(f"{name} is {address}: the server decides where pipelines run; leave it out")
        try:
            wanted = config.resolved(next(root for root in self.roots if isinstance(root, Path)))
            check_paths(wanted, self.roots, self.home.path)
            if target.cluster == UP:
                check_local(wanted)
        except (OSError, RuntimeError) as error:  # a name that is too long, a home of nobody
            raise ConfigError(f"config: a path in it cannot be used ({error})") from None
        if self.settings.autoscales is not None:
            wanted = wanted.model_copy(update={"cluster": wanted.cluster.model_copy(update={"autoscales": self.settings.autoscales})})
        if len(wanted.to_json()) > _MOST_BYTES:
            raise ConfigError(f"config: with all its defaults it is larger than {_MOST_BYTES // 1000} kB, more than a job can be told")
        request = Request(owner=person.name, key=key, digest=digest, created=time.time()) if key else None
        try:
            pipeline = self.ledger.add_new(
                config.name, json.loads(wanted.to_json()), wanted.stages, target.cluster, target.tracking,
                owner=person.name, priority=priority, request=request, act=act, most=self.settings.quota_of(person.name).unfinished,
            )  # fmt: skip
        except Repeated as repeated:  # the same request came twice at the same time
            return self._before(repeated.request, digest)
        return Queued(pipeline, wanted.stages, True)

    def cancel(self, pipeline: str, person: Person, act: Act | None = None) -> Pipeline:
        """Asks for cancelling; the submitter sees to it. Raises ValueError (unknown), Forbidden, Conflict when it has ended."""
        row = self._own(pipeline, person)
        if row.cluster == PRIVATE and row.state not in ENDED:
            raise Conflict(f"{pipeline} is carried by a command on the service's own machine: end that, or cancel it there")
        if not self.ledger.ask_cancel(pipeline, act):
            raise Conflict(f"{pipeline} has ended already ({self.ledger.get(pipeline).state})")
        return self.ledger.get(pipeline)

    def resume(self, pipeline: str, person: Person, act: Act | None = None) -> Pipeline:
        """A pipeline that ended without success is queued again. Raises ValueError (unknown), Forbidden, Conflict."""
        row = self._own(pipeline, person)
        if row.state == SUCCEEDED:
            raise Conflict(f"{pipeline} has succeeded: submit its config again for another run")
        if row.state not in ENDED:
            raise Conflict(f"{pipeline} has not ended: it is {row.state}")
        target = self.target
        if row.run_id is not None and row.tracking != target.tracking:
            raise Conflict(f"the records of {pipeline} are in another MLflow ({row.tracking}) than the one that this service uses")
        most = self.settings.quota_of(row.owner).unfinished
        if not self.ledger.reopen(pipeline, target.cluster, target.tracking, ended=True, most=most, act=act):
            raise Conflict(f"{pipeline} has not ended: somebody else has resumed it just now")
        return self.ledger.get(pipeline)

    def _check_shares(self, config: Config, person: Person, priority: int) -> None:
        """What one person may not take from all others. Raises Forbidden, ConfigError."""
        quota, settings = self.settings.quota_of(person.name), self.settings
        if priority > quota.priority and not person.may("admin"):
            raise Forbidden(f"priority is {priority}, and {person.name} may go up to {quota.priority}")
        if config.evaluations_at_once > settings.evaluations_at_once:
            asked, most = config.evaluations_at_once, settings.evaluations_at_once
            raise ConfigError(f"config: evaluations_at_once is {asked}, and here at most {most} run")
        if settings.workers is not None and config.cluster.most > settings.workers:
            raise ConfigError(f"config: cluster.workers is {config.cluster.most}, and here a pipeline has at most {settings.workers}")
        if config.cluster.autoscales not in (None, settings.autoscales):
            raise Forbidden("cluster.autoscales is the server's to say: leave it out")

    def _before(self, request: Request, digest: str) -> Queued:
        if request.digest != digest:
            other = f"with another request, for {request.pipeline_id}"
            raise KeyReused(f"the idempotency key {request.key!r} came before {other}: use a new one")
        return Queued(request.pipeline_id, tuple(stage.name for stage in self.ledger.get(request.pipeline_id).stages), False)

    def _own(self, pipeline: str, person: Person) -> Pipeline:
        row = self.ledger.get(pipeline)
        if not person.owns(row.owner):
            raise Forbidden(f"{pipeline} is {row.owner}'s: only {row.owner} and admins may do that")
        return row
