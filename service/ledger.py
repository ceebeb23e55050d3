"""The ledger: short transactions on the record of what was asked."""
from __future__ import annotations

import difflib
import secrets
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import func, insert, inspect, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.database import Database
from service.leases import Leases
from service.settings import Webhook
from service.tables import (
    CANCELLED,
    ENDED,
    FAILED,
    LOCAL,
    LOST,
    PRIVATE,
    QUEUED,
    RETRIED,
    RUNNING,
    STOPPED,
    Act,
    Attempt,
    Notice,
    Pipeline,
    Request,
    Stage,
)  # fmt: skip

Row = TypeVar("Row", Request, Act)
_MANY = 500  # ids in one statement
_HINTS = 1000  # of the newest ids are looked through for one that was meant


class TooMany(ValueError):
    """As many unfinished pipelines as their owner may have."""


class Waiting(NamedTuple):
    """A pipeline that waits for its turn, without its config: there may be thousands."""

    id: str
    cluster: str
    tracking: str
    owner: str
    priority: int
    message: str | None


class Unknown(ValueError):
    """No pipeline of that id."""


class Taken(ValueError):
    """A pipeline of that id is there already."""


class Repeated(ValueError):
    """An idempotency key that was used before; `request` is that use."""

    def __init__(self, request: Request) -> None:
        super().__init__(f"the idempotency key {request.key!r} was used for {request.pipeline_id}")
        self.request = request


def new_id(name: str) -> str:
    """`<name>-<yyyymmdd>-<6 hex digits>`: fit for a Ray job's id, which takes letters, digits, - and _ alone."""
    return f"{name}-{time.strftime('%Y%m%d')}-{secrets.token_hex(3)}"


class Ledger:
    """What was asked. Raises what opening its `Database` raises."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.leases = Leases(self.database)
        self.webhooks: tuple[Webhook, ...] = ()  # who is told of what is written here

    def close(self) -> None:
        """Closes every connection."""
        self.database.close()

    def add(
        self, pipeline: str, name: str, config: dict[str, Any], stages: Sequence[str], cluster: str, tracking: str,
        *, owner: str = LOCAL, priority: int = 0, request: Request | None = None, act: Act | None = None, most: int | None = None,
    ) -> None:  # fmt: skip
        """Records a pipeline and its stages, with the request that asked for it and its line of the audit trail, whole or not at all.

        `most`: unfinished pipelines that the owner may have with it; TooMany when there are as many already.

        Taken when the id is; Repeated when the owner has used the request's key before.
        """
        values = {
            "id": pipeline, "name": name, "config": config, "created": time.time(), "cluster": cluster, "tracking": tracking,
            "owner": owner, "priority": priority,
        }  # fmt: skip
        rows = [{"pipeline_id": pipeline, "name": stage, "position": position} for position, stage in enumerate(stages)]
        try:
            with self.database.write() as session:
                self._make_room(session, owner, most)
                session.execute(insert(Pipeline).values(**values))
                if rows:
                    session.execute(insert(Stage), rows)
                session.add_all(one for one in (request, act) if one is not None)
        except IntegrityError:
            if request is not None and (before := self.request(request.owner, request.key)) is not None:
                raise Repeated(before) from None
            raise Taken(f"the pipeline id {pipeline} is taken: `adacrossnet show {pipeline}` tells what it is; use another") from None

    def add_new(
        self, name: str, config: dict[str, Any], stages: Sequence[str], cluster: str, tracking: str,
        *, owner: str = LOCAL, priority: int = 0, request: Request | None = None, act: Act | None = None, most: int | None = None,
    ) -> str:  # fmt: skip
        """`add` under an id of its own, which is returned: of a thousand of one name and day, two may draw the same."""
        while True:
            pipeline = new_id(name)
            for one, field in ((request, "pipeline_id"), (act, "object")):
                if one is not None:
                    setattr(one, field, pipeline)
            try:
                self.add(
                    pipeline, name, config, stages, cluster, tracking,
                    owner=owner, priority=priority, request=_copy(request), act=_copy(act), most=most,
                )  # fmt: skip
            except Taken:
                continue
            return pipeline

    def get(self, pipeline: str) -> Pipeline:
        """The pipeline with its stages and attempts. Unknown, with the nearest ids, when there is none."""
        with self.database.read() as session:
            row = session.get(Pipeline, pipeline)
            if row is not None:
                return row
            known = list(session.scalars(select(Pipeline.id).order_by(Pipeline.created.desc()).limit(_HINTS)))
        near = difflib.get_close_matches(pipeline, known, n=3) or [one for one in known if pipeline in one][-3:]
        hint = f"did you mean {' or '.join(near)}?" if near else "`adacrossnet list` shows what there is"
        raise Unknown(f"no pipeline {pipeline!r} in the ledger: {hint}")

    def request(self, owner: str, key: str) -> Request | None:
        """The submission that came with this idempotency key."""
        with self.database.read() as session:
            return session.get(Request, (owner, key))

    def recent(
        self, limit: int, *, before: str | None = None, state: str | None = None, owner: str | None = None, name: str | None = None,
        stage: str | None = None,
    ) -> list[Pipeline]:  # fmt: skip
        """The last `limit` pipelines that fit, newest first; `before` goes on after this id. Unknown when there is no such id."""
        query = select(Pipeline).order_by(Pipeline.created.desc(), Pipeline.id.desc()).limit(limit)
        for column, value in ((Pipeline.state, state), (Pipeline.owner, owner), (Pipeline.name, name)):
            if value is not None:
                query = query.where(column == value)
        if stage is not None:
            query = query.where(Pipeline.stages.any(Stage.name == stage))
        if before is not None:
            last = self.get(before)
            query = query.where(tuple_(Pipeline.created, Pipeline.id) < (last.created, last.id))
        with self.database.read() as session:
            return list(session.scalars(query))

    def active(self) -> list[Pipeline]:
        """Pipelines on shared clusters that were admitted or are to be cancelled, and those whose records are still open, oldest first."""
        acts = Pipeline.state.not_in(ENDED) & (Pipeline.cluster != PRIVATE) & (Pipeline.admitted | Pipeline.cancel_requested)
        with self.database.read() as session:
            return list(session.scalars(select(Pipeline).where(acts | Pipeline.records_open).order_by(Pipeline.created)))

    def waiting(self) -> list[Waiting]:
        """What waits for its turn on shared clusters, in the order of the turns: by priority, then by age."""
        columns = (Pipeline.id, Pipeline.cluster, Pipeline.tracking, Pipeline.owner, Pipeline.priority, Pipeline.message)
        waits = (Pipeline.state == QUEUED) & ~Pipeline.admitted & ~Pipeline.cancel_requested & (Pipeline.cluster != PRIVATE)
        with self.database.read() as session:
            rows = session.execute(select(*columns).where(waits).order_by(Pipeline.priority.desc(), Pipeline.created, Pipeline.id))
            return [Waiting(*row) for row in rows]

    def _make_room(self, session: Session, owner: str, most: int | None) -> None:
        """TooMany when the owner has as many unfinished pipelines as allowed; counted in the transaction that adds one."""
        if most is None:
            return
        if session.get_bind().dialect.name == "postgresql":  # SQLite has one writer at a time
            session.execute(select(func.pg_advisory_xact_lock(func.hashtext(owner))))
        unfinished = select(func.count()).select_from(Pipeline).where(Pipeline.owner == owner, Pipeline.state.not_in(ENDED))
        if (session.scalar(unfinished) or 0) >= most:
            raise TooMany(f"{owner} has {most} pipelines that have not ended, which is the most: wait, or cancel some")

    def admit(self, pipeline: str) -> bool:
        """Lets a pipeline run, unless it was cancelled or let run since it was looked at; whether it was let."""
        waits = (Pipeline.state == QUEUED) & ~Pipeline.admitted & ~Pipeline.cancel_requested
        with self.database.write() as session:
            return _changed(session.execute(update(Pipeline).where(Pipeline.id == pipeline, waits).values(admitted=True, message=None)))

    def runs(self, pipeline: str) -> None:
        """A job of it was submitted; one that was ended meanwhile stays ended."""
        with self.database.write() as session:
            going = update(Pipeline).where(Pipeline.id == pipeline, Pipeline.state.not_in(ENDED))
            session.execute(going.values(state=RUNNING, message=None))

    def ask_cancel(self, pipeline: str, act: Act | None = None) -> bool:
        """Asks for cancelling; one of which nothing exists but its row is ended at once. Whether it had not ended already."""
        with self.database.write() as session:
            mine = update(Pipeline).where(Pipeline.id == pipeline)
            if not _changed(session.execute(mine.where(Pipeline.state.not_in(ENDED)).values(cancel_requested=True))):
                return False
            session.add_all([act] if act is not None else [])
            bare = (Pipeline.state == QUEUED) & ~Pipeline.admitted & Pipeline.run_id.is_(None)
            ended = {"state": CANCELLED, "ended": time.time(), "message": "cancelled on request before it began"}
            if _changed(session.execute(mine.where(bare, Pipeline.cluster != PRIVATE).values(**ended))):
                session.add_all(self._ended_notices(session, pipeline))
            return True

    def set_pipeline(self, pipeline: str, **values: Any) -> None:
        """Changes fields of a pipeline's row."""
        with self.database.write() as session:
            session.execute(update(Pipeline).where(Pipeline.id == pipeline).values(**values))

    def counts(self) -> dict[str, int]:
        """How many pipelines are in each state, every state named."""
        with self.database.read() as session:
            found = dict(session.execute(select(Pipeline.state, func.count()).group_by(Pipeline.state)).tuples().all())
        return {state: found.get(state, 0) for state in (QUEUED, RUNNING, *ENDED)}

    def unfinished(self) -> list[Pipeline]:
        """Every pipeline that has not ended, oldest first."""
        with self.database.read() as session:
            return list(session.scalars(select(Pipeline).where(Pipeline.state.not_in(ENDED)).order_by(Pipeline.created)))

    def finish(self, seen: Pipeline, state: str, message: str | None) -> None:
        """Ends a pipeline whose records are closed, and writes down who is to be told, whole or not at all.

        `seen`: the row as it was when closing began; one that was reopened meanwhile goes on.
        """
        given_up = seen.state in ENDED
        still = (Pipeline.state == seen.state) & Pipeline.records_open if given_up else Pipeline.state.not_in(ENDED)
        values = {"state": state, "ended": seen.ended or time.time(), "message": message, "records_open": False}
        with self.database.write() as session:
            if not _changed(session.execute(update(Pipeline).where(Pipeline.id == seen.id, still).values(**values))):
                return
            # One that waited for its next attempt has a stage that runs, and no job.
            running = update(Stage).where(Stage.pipeline_id == seen.id, Stage.state == RUNNING)
            session.execute(running.values(state=state, message=message))
            if not given_up:  # that was told when it was given up
                session.add_all(self._ended_notices(session, seen.id))

    def _ended_notices(self, session: Session, pipeline: str) -> list[Notice]:
        row = session.get_one(Pipeline, pipeline, populate_existing=True)
        told = {"pipeline": pipeline, "name": row.name, "owner": row.owner, "state": row.state, "message": row.message, "ended": row.ended}
        return self._notices(row.state, told)

    def note(self, event: str, body: dict[str, Any]) -> None:
        """Writes down who is to be told of an event."""
        with self.database.write() as session:
            session.add_all(self._notices(event, body))

    def _notices(self, event: str, body: dict[str, Any]) -> list[Notice]:
        now = time.time()
        wanted = [one for one in self.webhooks if event in one.events]
        return [Notice(target=one.url, event=event, body=body, created=now, next_try=now, tries=0) for one in wanted]

    def set_messages(self, pipelines: Sequence[str], message: str) -> None:
        """The same message for many pipelines."""
        with self.database.write() as session:
            for first in range(0, len(pipelines), _MANY):
                some = pipelines[first : first + _MANY]
                session.execute(update(Pipeline).where(Pipeline.id.in_(some)).values(message=message))

    def set_stage(self, stage: int, **values: Any) -> None:
        """Changes fields of a stage's row."""
        with self.database.write() as session:
            session.execute(update(Stage).where(Stage.id == stage).values(**values))

    def set_attempt(self, attempt: int, **values: Any) -> None:
        """Changes fields of an attempt's row."""
        with self.database.write() as session:
            session.execute(update(Attempt).where(Attempt.id == attempt).values(**values))

    def start_attempt(self, stage: Stage) -> None:
        """Records the next attempt of a stage and its job's id; two at once cannot both succeed (UNIQUE)."""
        number = max((attempt.number for attempt in stage.attempts), default=0) + 1
        job = f"{stage.pipeline_id}-{stage.name}-{number}"
        with self.database.write() as session:
            session.add(Attempt(stage_id=stage.id, number=number, job_id=job, state=QUEUED))
            session.execute(update(Stage).where(Stage.id == stage.id).values(state=RUNNING, message=None))

    def end_attempt(
        self, attempt: Attempt, state: str, stage_state: str | None, message: str | None, cause: str | None = None
    ) -> None:
        """Ends an attempt, and with it its stage where `stage_state` is given, in one transaction."""
        now = time.time()
        with self.database.write() as session:
            session.execute(update(Attempt).where(Attempt.id == attempt.id).values(state=state, ended=now, message=message, cause=cause))
            if stage_state is not None:
                seconds = now - attempt.started if attempt.started else None
                values = {"state": stage_state, "message": message, "seconds": seconds}
                session.execute(update(Stage).where(Stage.id == attempt.stage_id).values(**values))

    def retry(self, attempt: Attempt, cause: str, message: str, not_before: float, changes: dict[str, Any] | None) -> None:
        """Ends an attempt whose failure the next one can cure; that waits until `not_before` (seconds since 1970)."""
        with self.database.write() as session:
            ended = {"state": RETRIED, "ended": time.time(), "cause": cause, "message": message}
            session.execute(update(Attempt).where(Attempt.id == attempt.id).values(**ended))
            session.execute(update(Stage).where(Stage.id == attempt.stage_id).values(not_before=not_before, changes=changes))

    def give_up(self, pipeline: str, state: str, why: str) -> None:
        """Ends a pipeline, and the stage that ran, before its jobs and MLflow runs could be ended: its records stay open."""
        values = {"state": state, "ended": time.time(), "message": why, "records_open": True}
        with self.database.write() as session:
            session.execute(update(Pipeline).where(Pipeline.id == pipeline).values(**values))
            running = update(Stage).where(Stage.pipeline_id == pipeline, Stage.state == RUNNING)
            session.execute(running.values(state=state, message=why))
            session.add_all(self._ended_notices(session, pipeline))

    def reopen(
        self, pipeline: str, cluster: str, tracking: str, *, ended: bool = False, most: int | None = None, act: Act | None = None
    ) -> bool:
        """A pipeline goes on: stages that did not succeed are queued again, finished ones stay. Whether it was reopened.

        `ended`: only one that has ended; of two who ask at once, one is too late. TooMany as when one is added.
        """
        values = {
            "state": QUEUED, "ended": None, "message": None, "cancel_requested": False, "records_open": False, "admitted": False,
            "cluster": cluster, "tracking": tracking,
        }  # fmt: skip
        with self.database.write() as session:
            row = session.get(Pipeline, pipeline)
            self._make_room(session, row.owner if row is not None else "", most)
            mine = update(Pipeline).where(Pipeline.id == pipeline)
            if not _changed(session.execute((mine.where(Pipeline.state.in_(ENDED)) if ended else mine).values(**values))):
                return False
            session.add_all([act] if act is not None else [])
            again = update(Stage).where(Stage.pipeline_id == pipeline, Stage.state.in_([FAILED, CANCELLED]))
            session.execute(again.values(state=QUEUED, message=None, not_before=None))
            own = select(Stage.id).where(Stage.pipeline_id == pipeline)
            # Whoever reopens it has seen to the cause: they count as lost, and as tries, no more.
            for state, now in ((LOST, STOPPED), (RETRIED, FAILED)):
                session.execute(update(Attempt).where(Attempt.stage_id.in_(own), Attempt.state == state).values(state=now))
            session.execute(update(Stage).where(Stage.pipeline_id == pipeline).values(not_before=None))
            return True


def _changed(result: Any) -> bool:
    return bool(result.rowcount)


def _copy(row: Row | None) -> Row | None:
    """The same row, new to any session: one that was rolled back cannot be added again."""
    if row is None:
        return None
    columns = inspect(type(row)).columns.keys()
    return type(row)(**{name: getattr(row, name) for name in columns if getattr(row, name) is not None})
