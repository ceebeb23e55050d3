"""The ledger: short transactions on the record of what was asked."""
from __future__ import annotations

import difflib
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, delete, event, func, insert, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from service.tables import CANCELLED, ENDED, FAILED, LOST, PRIVATE, QUEUED, RUNNING, STOPPED, Attempt, Lease, Pipeline, Stage, Table

_BUSY_S = 30  # a writer waits this long for another one's lock


def new_id(name: str) -> str:
    """`<name>-<yyyymmdd>-<6 hex digits>`: fit for a Ray job's id, which takes letters, digits, - and _ alone."""
    return f"{name}-{time.strftime('%Y%m%d')}-{secrets.token_hex(3)}"


class Ledger:
    """What was asked, in SQLite (WAL) or any database SQLAlchemy knows; the schema is made on opening.

    Raises ValueError, naming the URL without its password, when it is none, its driver is missing, or no database answers there.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
            sqlite = parsed.get_backend_name() == "sqlite"
            if sqlite and parsed.database:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            self.engine = create_engine(url, connect_args={"timeout": _BUSY_S} if sqlite else {})
        except (SQLAlchemyError, ImportError, ValueError) as error:
            raise _unusable(url, error) from None
        if sqlite:
            event.listen(self.engine, "connect", _write_ahead)
        try:
            Table.metadata.create_all(self.engine)
        except SQLAlchemyError as error:
            self.engine.dispose()
            raise _unusable(url, error) from None

    def close(self) -> None:
        """Closes every connection."""
        self.engine.dispose()

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    def add(self, pipeline: str, name: str, config: dict[str, Any], stages: Sequence[str], cluster: str, tracking: str) -> None:
        """Records a pipeline and its stages, whole or not at all. ValueError when the id is taken."""
        row = Pipeline(id=pipeline, name=name, config=config, created=time.time(), cluster=cluster, tracking=tracking, state=QUEUED)
        row.stages = [Stage(name=stage, position=position, state=QUEUED) for position, stage in enumerate(stages)]
        try:
            with self._session() as session:
                session.add(row)
        except IntegrityError:
            raise ValueError(f"the pipeline id {pipeline} is taken: `adacrossnet show {pipeline}` tells what it is; use another") from None

    def get(self, pipeline: str) -> Pipeline:
        """The pipeline with its stages and attempts. ValueError, with the nearest ids, when there is none."""
        with self._session() as session:
            row = session.get(Pipeline, pipeline)
            if row is not None:
                return row
            known = list(session.scalars(select(Pipeline.id)))
        near = difflib.get_close_matches(pipeline, known, n=3) or [one for one in known if pipeline in one][-3:]
        hint = f"did you mean {' or '.join(near)}?" if near else "`adacrossnet list` shows what there is"
        raise ValueError(f"no pipeline {pipeline!r} in the ledger: {hint}")

    def recent(self, limit: int) -> list[Pipeline]:
        """The last `limit` pipelines, newest first."""
        with self._session() as session:
            return list(session.scalars(select(Pipeline).order_by(Pipeline.created.desc()).limit(limit)))

    def active(self) -> list[Pipeline]:
        """Pipelines on shared clusters that have not ended or whose records are still open, oldest first."""
        with self._session() as session:
            query = select(Pipeline).where((Pipeline.state.not_in(ENDED) & (Pipeline.cluster != PRIVATE)) | Pipeline.records_open)
            return list(session.scalars(query.order_by(Pipeline.created)))

    def set_pipeline(self, pipeline: str, **values: Any) -> None:
        """Changes fields of a pipeline's row."""
        with self._session() as session:
            session.execute(update(Pipeline).where(Pipeline.id == pipeline).values(**values))

    def count(self, state: str) -> int:
        """How many pipelines are in this state."""
        with self._session() as session:
            return session.scalar(select(func.count()).select_from(Pipeline).where(Pipeline.state == state)) or 0

    def unfinished(self) -> list[Pipeline]:
        """Every pipeline that has not ended, oldest first."""
        with self._session() as session:
            return list(session.scalars(select(Pipeline).where(Pipeline.state.not_in(ENDED)).order_by(Pipeline.created)))

    def set_stage(self, stage: int, **values: Any) -> None:
        """Changes fields of a stage's row."""
        with self._session() as session:
            session.execute(update(Stage).where(Stage.id == stage).values(**values))

    def set_attempt(self, attempt: int, **values: Any) -> None:
        """Changes fields of an attempt's row."""
        with self._session() as session:
            session.execute(update(Attempt).where(Attempt.id == attempt).values(**values))

    def start_attempt(self, stage: Stage) -> None:
        """Records the next attempt of a stage and its job's id; two at once cannot both succeed (UNIQUE)."""
        number = max((attempt.number for attempt in stage.attempts), default=0) + 1
        job = f"{stage.pipeline_id}-{stage.name}-{number}"
        with self._session() as session:
            session.add(Attempt(stage_id=stage.id, number=number, job_id=job, state=QUEUED))
            session.execute(update(Stage).where(Stage.id == stage.id).values(state=RUNNING, message=None))

    def end_attempt(self, attempt: Attempt, state: str, stage_state: str | None, message: str | None) -> None:
        """Ends an attempt, and with it its stage where `stage_state` is given, in one transaction."""
        now = time.time()
        with self._session() as session:
            session.execute(update(Attempt).where(Attempt.id == attempt.id).values(state=state, ended=now, message=message))
            if stage_state is not None:
                seconds = now - attempt.started if attempt.started else None
                values = {"state": stage_state, "message": message, "seconds": seconds}
                session.execute(update(Stage).where(Stage.id == attempt.stage_id).values(**values))

    def give_up(self, pipeline: str, state: str, why: str) -> None:
        """Ends a pipeline, and the stage that ran, before its jobs and MLflow runs could be ended: its records stay open."""
        values = {"state": state, "ended": time.time(), "message": why, "records_open": True}
        with self._session() as session:
            session.execute(update(Pipeline).where(Pipeline.id == pipeline).values(**values))
            running = update(Stage).where(Stage.pipeline_id == pipeline, Stage.state == RUNNING)
            session.execute(running.values(state=state, message=why))

    def reopen(self, pipeline: str, cluster: str, tracking: str) -> None:
        """A pipeline goes on: stages that did not succeed are queued again, finished ones stay."""
        values = {
            "state": QUEUED, "ended": None, "message": None, "cancel_requested": False, "records_open": False,
            "cluster": cluster, "tracking": tracking,
        }  # fmt: skip
        with self._session() as session:
            session.execute(update(Pipeline).where(Pipeline.id == pipeline).values(**values))
            again = update(Stage).where(Stage.pipeline_id == pipeline, Stage.state.in_([FAILED, CANCELLED]))
            session.execute(again.values(state=QUEUED, message=None))
            own = select(Stage.id).where(Stage.pipeline_id == pipeline)
            lost = update(Attempt).where(Attempt.stage_id.in_(own), Attempt.state == LOST)
            session.execute(lost.values(state=STOPPED))  # whoever reopens it has seen to the cause: they count as lost no more

    def acquire(self, scope: str, holder: str, seconds: float) -> bool:
        """Takes or renews the lease of `scope`; False while another holder's has not expired."""
        now = time.time()
        with self._session() as session:
            free = (Lease.holder == holder) | (Lease.expires < now)
            mine = session.execute(update(Lease).where(Lease.scope == scope, free).values(holder=holder, expires=now + seconds))
            if mine.rowcount == 1:  # type: ignore[attr-defined]
                return True
            if session.get(Lease, scope) is not None:
                return False
        try:
            with self._session() as session:
                session.execute(insert(Lease).values(scope=scope, holder=holder, expires=now + seconds))
            return True
        except IntegrityError:  # another one was first
            return False

    def release(self, scope: str, holder: str) -> None:
        """Gives the lease back, if it is the holder's."""
        with self._session() as session:
            session.execute(delete(Lease).where(Lease.scope == scope, Lease.holder == holder))

    def holder(self, scope: str) -> str | None:
        """Who holds the lease of `scope` now."""
        with self._session() as session:
            row = session.get(Lease, scope)
            return row.holder if row is not None and row.expires >= time.time() else None


def _unusable(url: str, error: Exception) -> ValueError:
    shown = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url)  # also of what SQLAlchemy cannot parse
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    missing = ", its driver, which is to be installed" if isinstance(error, ImportError) else ""
    reason = (str(cause).splitlines() or [type(cause).__name__])[0]
    return ValueError(
        f"the ledger {shown} cannot be opened ({reason}{missing}): ADACROSSNET_LEDGER takes the URL of a database as SQLAlchemy writes it, "
        "sqlite:////folder/ledger.sqlite or postgresql+psycopg://user@host/name; unset, the ledger is ledger.sqlite in the state folder"
    )


def _write_ahead(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")  # readers never wait for the writer
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
