"""The submitter: holds the lease and advances every pipeline of its scope, until it is told to stop.

    python -m service.submitter --home DIR     what `adacrossnet up` starts in the background; imports no torch

It can be killed at any instruction, restarted, or run twice: the lease lets one act at a time, and the steps can be repeated. One that
ends gives the lease back; one whose machine is gone loses it within LEASE_S, and another takes over.
"""
from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from cluster.identity import Identity
from cluster.local import LocalCluster
from service.admission import Admission
from service.endpoints import Endpoint, resolve
from service.home import Home, project_tree
from service.ledger import Ledger
from service.mlflow_runs import Runs, TrackingAway
from service.ray_jobs import ClusterAway, RayJobs
from service.reconcile import Reconciler
from service.settings import Settings, read_settings, remembered
from service.tables import CANCELLED, ENDED, FAILED, PRIVATE, UP, Pipeline

SHARED = "shared"  # the lease of all pipelines on shared clusters; a `run` with its own cluster holds one named after its pipeline
LEASE_S = 20.0  # renewed before each step, and beside steps that take longer
STEP_S = 180.0  # a step that hangs longer may meet another submitter: job ids are unique and a run in no row is closed
PATIENCE_S = 90.0  # the cluster or the MLflow of a `run` may stay away this long before it fails; shared ones longer, by the settings
CLOSING_S = 600.0  # between two tries to close an ended pipeline's records: each waits for an MLflow that is away, and so do all others

_log = logging.getLogger("adacrossnet.submitter")


class LeaseLost(RuntimeError):
    """Another submitter took over; nothing more may be done."""


class Submitter:
    """Advances the pipelines of `SHARED`, or `only` one whose cluster is the caller's `own`."""

    def __init__(
        self, ledger: Ledger, home: Home, *, only: str | None = None, own: LocalCluster | None = None,
        after: Callable[[str], None] = lambda step: None, patience: float | None = None, settings: Settings | None = None,
    ) -> None:  # fmt: skip
        self.ledger, self.home, self.only, self.own = ledger, home, only, own
        settings = settings or (None if only else remembered(home.settings_file))
        self.settings = settings or Settings()
        self.patience = patience or (PATIENCE_S if only else self.settings.patience_s)
        self.scope = only or SHARED
        self.holder = _name(Identity.of(os.getpid()))
        self.went_round: float | None = None  # when its last round ended
        self.working_since: float | None = None  # when the step that is being taken began
        self._reconciler = Reconciler(ledger, home, project_tree(), self._hold, after, self.settings.rule)
        self._clients: dict[Endpoint, tuple[RayJobs, Runs]] = {}
        if settings is not None:  # else a command's, which knows of no webhooks
            ledger.webhooks = settings.webhooks
        self._admission = Admission(
            ledger, self.settings, lambda cluster, tracking: resolve(cluster, tracking, home, own),
            lambda endpoint: RayJobs(endpoint.ray, endpoint.token),
        )  # fmt: skip
        self._away: dict[str, float] = {}  # pipeline -> since when its cluster does not answer
        self._closing: dict[str, float] = {}  # ended pipeline -> when closing its records is tried again

    def tick(self) -> bool:
        """Advances each pipeline as far as it goes now. False, and nothing done, while another submitter holds the lease."""
        if not self.acquire():
            return False
        self.working_since = time.monotonic()
        try:
            return self._round()
        finally:
            self.working_since = None

    def _round(self) -> bool:
        pipelines = self.ledger.active()
        if self.only:  # the embedded MLflow is up now: what earlier runs left open there is closed too
            pipelines = [self.ledger.get(self.only), *(one for one in pipelines if one.cluster == PRIVATE and one.id != self.only)]
        else:
            pipelines += self._admission.admit(pipelines)
        for pipeline in pipelines:
            if pipeline.state in ENDED and not (pipeline.records_open and time.monotonic() >= self._closing.get(pipeline.id, 0.0)):
                continue
            try:
                self._advance(pipeline)
            except LeaseLost:
                return False
            except Exception as error:  # one bad row or a full disk must not stop the others
                if pipeline.id == self.only:
                    raise
                self._put_off(pipeline, f"{type(error).__name__}: {error}", error)
        return True

    def acquire(self) -> bool:
        """Takes or renews the lease; at once where its holder is a process of this machine that has ended."""
        holder = self.ledger.leases.holder(self.scope)
        if holder is not None and holder != self.holder and living_holder(self.ledger, self.scope) is None:
            self.ledger.leases.release(self.scope, holder)
        return self.ledger.leases.acquire(self.scope, self.holder, LEASE_S)

    def release(self) -> None:
        """Gives the lease back."""
        self.ledger.leases.release(self.scope, self.holder)

    def clients(self, endpoint: Endpoint) -> tuple[RayJobs, Runs]:
        """The clients of an endpoint, made once."""
        if endpoint not in self._clients:
            self._clients[endpoint] = (RayJobs(endpoint.ray, endpoint.token), Runs(endpoint.mlflow))
        return self._clients[endpoint]

    def _hold(self) -> None:
        self.working_since = time.monotonic()
        if not self.acquire():
            raise LeaseLost(f"{self.ledger.leases.holder(self.scope)} holds the lease {self.scope!r}")

    def _advance(self, pipeline: Pipeline) -> None:
        closing = pipeline.state in ENDED and pipeline.cluster == PRIVATE  # its own cluster is gone; its MLflow records are still there
        endpoint = resolve(UP if closing and self.own is None else pipeline.cluster, pipeline.tracking, self.home, self.own)
        if endpoint is None:  # an embedded cluster that is down: the pipeline goes on when `up` starts it again
            return
        try:
            self._reconciler.advance(pipeline, endpoint, *self.clients(endpoint))
            self._away.pop(pipeline.id, None)
        except (ClusterAway, TrackingAway) as error:
            self._put_off(pipeline, str(error))

    def _put_off(self, pipeline: Pipeline, why: str, error: Exception | None = None) -> None:
        """The pipeline is tried again in the next round, and given up when that has not helped for long; an ended one can wait."""
        if pipeline.state in ENDED:
            self._closing[pipeline.id] = time.monotonic() + CLOSING_S
        first = pipeline.id not in self._away
        since = self._away.setdefault(pipeline.id, time.monotonic())
        if first:  # then its row says it
            _log.warning("%s: %s", pipeline.id, why, exc_info=error, extra={"pipeline": pipeline.id})
        if pipeline.state in ENDED:
            return
        if time.monotonic() - since > self.patience:
            self.give_up(pipeline, why)
        else:
            self.ledger.set_pipeline(pipeline.id, message=why)

    def close_abandoned(self) -> None:
        """Ends the pipelines of `run`s that were killed: nobody carries them, and `resume` goes on with them."""
        for pipeline in self.ledger.unfinished():
            if pipeline.id != self.only and interrupted(self.ledger, pipeline):
                self.give_up(pipeline, "the command that ran it was killed")

    def give_up(self, pipeline: Pipeline, why: str) -> None:
        """Ends a pipeline whose cluster or MLflow is gone; its job is stopped and its MLflow runs closed when they are seen again."""
        self._away.pop(pipeline.id, None)
        self._closing.pop(pipeline.id, None)
        if pipeline.state not in ENDED:
            self.ledger.give_up(pipeline.id, CANCELLED if pipeline.cancel_requested else FAILED, why)


def _name(identity: Identity) -> str:
    return f"{socket.gethostname()}:{identity.boot}:{identity.pid}:{identity.ticks}"


def living_holder(ledger: Ledger, scope: str) -> str | None:
    """Who holds the lease of `scope`; none also when it is a process of this machine that has ended."""
    holder = ledger.leases.holder(scope)
    if holder is None:
        return None
    host, boot, pid, ticks = holder.rsplit(":", 3)
    ended = host == socket.gethostname() and not Identity(int(pid), int(ticks), boot).alive()
    return None if ended else holder


def interrupted(ledger: Ledger, pipeline: Pipeline) -> bool:
    """Whether the pipeline stands still because the `run` that carried it was ended from outside."""
    return pipeline.state not in ENDED and pipeline.cluster == PRIVATE and living_holder(ledger, pipeline.id) is None


def standstill(ledger: Ledger, home: Home, pipeline: Pipeline) -> str | None:
    """Why an unfinished pipeline of a shared cluster stands still, and what makes it go on; none where nothing is known."""
    if pipeline.state in ENDED or pipeline.cluster == PRIVATE:
        return None
    if pipeline.cluster == UP and resolve(UP, pipeline.tracking, home) is None:
        return "its cluster is down: it goes on at the next `adacrossnet up`"
    if living_holder(ledger, SHARED) is None:
        return "no submitter is alive, so it waits: `adacrossnet up` starts one"
    return None


def main() -> int:
    """Runs until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--at-once", type=int)
    options = parser.parse_args()
    home = Home(options.home)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    settings = (remembered(home.settings_file) if options.config is None else None) or read_settings(options.config)
    settings = settings.model_copy(update={"at_once": options.at_once or settings.at_once})
    submitter = Submitter(Ledger(home.ledger_url), home, settings=settings)
    _log.info("the submitter of %s runs, pid %d", home.path, os.getpid())
    rounds(submitter, stopping.is_set)
    return 0


def rounds(submitter: Submitter, stop: Callable[[], bool]) -> None:
    """Advances what there is, about once a second, until it is told to stop; then gives the lease back."""
    first = True
    with _heart(submitter):
        while not stop():
            try:
                if first:
                    submitter.close_abandoned()
                    first = False
                submitter.tick()
                submitter.went_round = time.monotonic()
            except Exception:  # a busy ledger or a full disk must not end the submitter
                _log.exception("the round failed; the next one comes in 5 s")
                time.sleep(4)
            time.sleep(1)
    submitter.release()


@contextmanager
def _heart(submitter: Submitter) -> Iterator[None]:
    """Renews the lease beside a round that takes long (a slow MLflow, an upload), but not beside one that hangs."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(LEASE_S / 4):
            since = submitter.working_since
            if since is not None and time.monotonic() - since < STEP_S:
                try:
                    submitter.ledger.leases.acquire(submitter.scope, submitter.holder, LEASE_S)
                except Exception:  # the round itself finds the ledger away
                    _log.debug("the lease could not be renewed", exc_info=True)

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
