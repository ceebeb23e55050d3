"""What Prometheus reads: counted in the ledger when it asks, so that a restart loses nothing and two services tell the same."""
from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy import case, func, select

from service.failures import OTHER
from service.ledger import Ledger
from service.progress import Progress
from service.submitter import SHARED, living_holder
from service.tables import FAILED, RETRIED, SUCCEEDED, Attempt, Notice, Stage

BUCKETS_S = (10, 30, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 7 * 24 * 3600)


def exposition(ledger: Ledger, holder: str, progress: Progress) -> bytes:
    """The text format. `holder`: this service's name on leases."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Ledger(ledger, holder, progress))
    return generate_latest(registry)


class _Ledger(Collector):
    def __init__(self, ledger: Ledger, holder: str, progress: Progress) -> None:
        self._ledger, self._holder, self._progress = ledger, holder, progress

    def collect(self) -> Iterator[Metric]:
        pipelines = GaugeMetricFamily("adacrossnet_pipelines", "Pipelines by state", labels=["state"])
        for state, count in self._ledger.counts().items():
            pipelines.add_metric([state], count)
        yield pipelines
        waiting = self._ledger.waiting()
        yield GaugeMetricFamily("adacrossnet_queue_length", "Pipelines that wait for their turn", value=len(waiting))
        yield self._stages()
        yield self._failures()
        speed = GaugeMetricFamily("adacrossnet_clouds_per_second", "Speed of running trainings", labels=["pipeline", "stage"])
        for (pipeline, stage), clouds in self._progress.speeds().items():
            speed.add_metric([pipeline, stage], clouds)
        yield speed
        leads = living_holder(self._ledger, SHARED) == self._holder
        yield GaugeMetricFamily("adacrossnet_leader", "Whether this service holds the lease", value=float(leads))
        with self._ledger.database.read() as session:
            open_notices = session.scalar(select(func.count()).select_from(Notice).where(Notice.next_try.is_not(None))) or 0
        yield GaugeMetricFamily("adacrossnet_notices_due", "Notifications that have not arrived yet", value=open_notices)

    def _stages(self) -> Metric:
        up_to = [func.sum(case((Stage.seconds <= bound, 1), else_=0)) for bound in BUCKETS_S]
        query = select(Stage.name, func.count(), func.sum(Stage.seconds), *up_to)
        query = query.where(Stage.state == SUCCEEDED, Stage.seconds.is_not(None)).group_by(Stage.name)
        rows: dict[str, list[float]] = {}
        with self._ledger.database.read() as session:
            for name, *numbers in session.execute(query):
                kind = name.partition("-")[0]  # parts-2 is a second stage of parts
                rows[kind] = [a + float(b) for a, b in zip(rows.get(kind, [0.0] * len(numbers)), numbers, strict=True)]
        found = HistogramMetricFamily("adacrossnet_stage_seconds", "How long stages took that succeeded", labels=["stage"])
        for kind, (count, total, *counts) in sorted(rows.items()):
            buckets = [*zip(map(str, map(float, BUCKETS_S)), counts, strict=True), ("+Inf", count)]
            found.add_metric([kind], buckets=buckets, sum_value=total)
        return found

    def _failures(self) -> Metric:
        query = select(func.coalesce(Attempt.cause, OTHER).label("reason"), func.count())
        query = query.where(Attempt.state.in_((FAILED, RETRIED))).group_by("reason")
        about = "Jobs that failed, by reason, whether they were tried again or not"
        found = CounterMetricFamily("adacrossnet_failures", about, labels=["reason"])
        with self._ledger.database.read() as session:
            for reason, count in session.execute(query):
                found.add_metric([reason], count)
        return found
