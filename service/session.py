"""A command's hold on a cluster: the one there is, or its own, which is stopped in every case when the command ends."""
from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from rich.console import Console

from cluster.local import LocalCluster, start_cluster
from jobs.config import Pipeline as Config
from service.endpoints import Endpoint, Target, choose, resolve
from service.home import Home
from service.preflight import check_fits
from service.ray_jobs import ClusterAway
from service.tables import EMBEDDED, PRIVATE


class Interrupted(RuntimeError):
    """Ctrl-C, SIGTERM or SIGHUP; the message says what became of the work and how it goes on."""

    status = 130  # the command's exit status, as a shell's own after SIGINT


@dataclass(frozen=True)
class Hold:
    """What a command works with: where it runs, where that answers, and the cluster it has to stop (none: somebody else's)."""

    target: Target
    endpoint: Endpoint
    own: LocalCluster | None


@contextmanager
def hold(config: Config, home: Home, console: Console) -> Iterator[Hold]:
    """The cluster for this config: started where there is none, stopped on leaving. SIGTERM and SIGHUP act as Ctrl-C inside.

    Raises Unfit before anything starts when this machine can never give the workers; ClusterAway, StartError, Occupied.
    """
    target = choose(config, home)
    with signals_as_interrupt():
        own = None
        if target.cluster == PRIVATE:
            cpus = len(os.sched_getaffinity(0))
            if not (config.cluster.gpus_per_worker or config.cluster.validator_gpus):  # GPUs are counted by Ray, once it runs
                check_fits(config, [{"CPU": float(cpus)}], "this machine, where the embedded cluster starts,")
            with console.status("starting Ray and MLflow on this machine") if console.is_terminal else _said(console):
                own = start_cluster(home.path, survives=False, cpus=cpus, mlflow=target.tracking == EMBEDDED)
        try:
            endpoint = resolve(target.cluster, target.tracking, home, own)
            if endpoint is None:
                raise ClusterAway("the cluster has just gone: `adacrossnet status` tells what runs")
            yield Hold(target, endpoint, own)
        finally:
            if own is not None:
                with signals_ignored():  # an impatient second Ctrl-C must not leave half of it running
                    own.stop()


@contextmanager
def signals_as_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt, as SIGINT does, so that every way to end leads through the same clean-up.

    One that nothing inside handles leaves as Interrupted.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handlers(interrupt, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        try:
            yield
        except KeyboardInterrupt:
            raise Interrupted("interrupted; every process that was started has been stopped") from None


@contextmanager
def signals_ignored() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP do nothing inside."""
    with _handlers(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        yield


@contextmanager
def _handlers(handler: signal._HANDLER, *numbers: signal.Signals) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def _said(console: Console) -> Iterator[None]:
    console.print("starting Ray and MLflow on this machine", highlight=False)
    yield
