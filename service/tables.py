"""The ledger's tables: what was asked. What happened stands in MLflow."""
from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED = "queued", "running", "succeeded", "failed", "cancelled"  # of pipelines and stages
STOPPED, LOST = "stopped", "lost"  # of attempts too: stopped on request; forgotten by a job server whose head restarted
ENDED = (SUCCEEDED, FAILED, CANCELLED)

PRIVATE, UP, EMBEDDED = "private", "up", "embedded"  # in place of a URL: a `run`'s own cluster, that of `up`; their MLflow


class Table(DeclarativeBase):
    """The schema."""


class Pipeline(Table):
    """One request: a resolved config and how far it got. Times are seconds since 1970."""

    __tablename__ = "pipelines"
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
    stage: Mapped[Stage] = relationship(back_populates="attempts")


class Lease(Table):
    """Who may act now: one row a scope (`shared`, or one pipeline that runs on a `run`'s own cluster)."""

    __tablename__ = "lease"
    scope: Mapped[str] = mapped_column(String(100), primary_key=True)
    holder: Mapped[str] = mapped_column(String(300))  # the process: a host's name has up to 253 characters
    expires: Mapped[float]
