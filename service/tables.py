"""The ledger's tables: what was asked. What happened stands in MLflow."""
from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, UniqueConstraint, false
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED = "queued", "running", "succeeded", "failed", "cancelled"  # of pipelines and stages
# Of attempts too: stopped on request; forgotten by a job server whose head restarted; failed in a way that the next attempt can cure.
STOPPED, LOST, RETRIED = "stopped", "lost", "retried"
ENDED = (SUCCEEDED, FAILED, CANCELLED)

PRIVATE, UP, EMBEDDED = "private", "up", "embedded"  # in place of a URL: a `run`'s own cluster, that of `up`; their MLflow
LOCAL = "local"  # the owner of what is asked on the command line without a server, and who acts there


class Table(DeclarativeBase):
    """The schema."""


class Pipeline(Table):
    """One request: a resolved config and how far it got. Times are seconds since 1970."""

    __tablename__ = "pipelines"
    __table_args__ = (Index("ix_pipelines_owner_state", "owner", "state"),)  # a person's share is counted at every submission
    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    config: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(16), default=QUEUED, index=True)
    created: Mapped[float]
    ended: Mapped[float | None]
    run_id: Mapped[str | None] = mapped_column(String(64))  # of the parent run in MLflow
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    records_open: Mapped[bool] = mapped_column(default=False)  # ended while MLflow was away: its runs are still to be closed
    message: Mapped[str | None]
    cluster: Mapped[str]  # job server URL, or PRIVATE, or UP
    tracking: Mapped[str]  # MLflow URL, or EMBEDDED
    owner: Mapped[str] = mapped_column(String(80), default=LOCAL, server_default=LOCAL)
    priority: Mapped[int] = mapped_column(default=0, server_default="0")  # the higher, the earlier; equals in the order they came
    admitted: Mapped[bool] = mapped_column(default=False, server_default=false(), index=True)  # its turn has come
    stages: Mapped[list[Stage]] = relationship(order_by="Stage.position", lazy="selectin", back_populates="pipeline")


class Stage(Table):
    """One stage of a pipeline; it has one MLflow run however many attempts it takes."""

    __tablename__ = "stages"
    __table_args__ = (UniqueConstraint("pipeline_id", "name"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    pipeline_id: Mapped[str] = mapped_column(ForeignKey("pipelines.id"), index=True)
    name: Mapped[str] = mapped_column(String(40))
    position: Mapped[int]
    state: Mapped[str] = mapped_column(String(16), default=QUEUED)
    run_id: Mapped[str | None] = mapped_column(String(64))
    message: Mapped[str | None]
    seconds: Mapped[float | None]  # of the attempt that ended the stage
    not_before: Mapped[float | None]  # the next attempt waits until then
    changes: Mapped[dict[str, Any] | None] = mapped_column(JSON)  # of the config by its next attempts, by dotted keys: a smaller batch
    pipeline: Mapped[Pipeline] = relationship(back_populates="stages")
    attempts: Mapped[list[Attempt]] = relationship(order_by="Attempt.number", lazy="selectin", back_populates="stage")


class Attempt(Table):
    """One Ray job of a stage; its id is `<pipeline>-<stage>-<number>`."""

    __tablename__ = "attempts"
    __table_args__ = (UniqueConstraint("stage_id", "number"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    stage_id: Mapped[int] = mapped_column(ForeignKey("stages.id"), index=True)
    number: Mapped[int]
    job_id: Mapped[str] = mapped_column(String(160), unique=True)
    state: Mapped[str] = mapped_column(String(16), default=QUEUED)
    started: Mapped[float | None]
    ended: Mapped[float | None]
    message: Mapped[str | None]
    cause: Mapped[str | None] = mapped_column(String(16))  # of a failure: one of service/failures.py
    stage: Mapped[Stage] = relationship(back_populates="attempts")


class Lease(Table):
    """Who may act now: one row a scope (`shared`, or one pipeline that runs on a `run`'s own cluster)."""

    __tablename__ = "lease"
    scope: Mapped[str] = mapped_column(String(100), primary_key=True)
    holder: Mapped[str] = mapped_column(String(300))  # the process: a host's name has up to 253 characters
    expires: Mapped[float]


class Request(Table):
    """A submission that came with an idempotency key: the same again finds its pipeline."""

    __tablename__ = "requests"
    owner: Mapped[str] = mapped_column(String(80), primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))  # of what was asked
    pipeline_id: Mapped[str] = mapped_column(String(80))
    created: Mapped[float]


class Token(Table):
    """Who may call the service. The secret itself is shown once and kept nowhere."""

    __tablename__ = "tokens"
    id: Mapped[str] = mapped_column(String(16), primary_key=True)  # the public part of the token
    name: Mapped[str] = mapped_column(String(80), index=True)  # whose it is: owns what it submits
    role: Mapped[str] = mapped_column(String(16))
    digest: Mapped[str] = mapped_column(String(64))  # SHA-256 of the whole token, which is 256 random bits
    created: Mapped[float]
    expires: Mapped[float | None]
    revoked: Mapped[float | None]


class Act(Table):
    """The audit trail: who did what, and whether it was let."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(primary_key=True)
    time: Mapped[float] = mapped_column(index=True)
    who: Mapped[str] = mapped_column(String(80))
    address: Mapped[str] = mapped_column(String(64))  # where the request came from
    action: Mapped[str] = mapped_column(String(80))
    object: Mapped[str] = mapped_column(String(200))
    status: Mapped[int]  # the HTTP status of the answer; 0: on the command line
    detail: Mapped[str | None]


class Notice(Table):
    """A notification that is to be delivered: written with the state it tells of, so that none is lost."""

    __tablename__ = "notices"
    id: Mapped[int] = mapped_column(primary_key=True)
    target: Mapped[str]  # the webhook's URL
    event: Mapped[str] = mapped_column(String(40))
    body: Mapped[dict[str, Any]] = mapped_column(JSON)
    created: Mapped[float]
    tries: Mapped[int] = mapped_column(default=0)
    next_try: Mapped[float | None] = mapped_column(index=True)  # none: it is over
    message: Mapped[str | None]  # of the last try that failed


class Version(Table):
    """Which migration the tables stand at; Alembic's own table."""

    __tablename__ = "alembic_version"
    version_num: Mapped[str] = mapped_column(String(32), primary_key=True)
