"""What requests may hold: text without what no file or database takes, and YAML without what makes a small text a huge value."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from jobs.config import ConfigError
from jobs.config.loading import UniqueKeySafeLoader
from service.operations import PRIORITIES

PipelineId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,79}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,79}$")]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=r"^[^\x00-\x08\x0e-\x1f]*$")]
EXAMPLE = {
    "name": "quickstart",
    "data": {"kind": "synthetic", "shapes": 400, "points": 512, "views": 4, "image_size": 64},
    "pretrain": {"backbone": {"name": "dgcnn", "k": 10}, "epochs": 12, "batch": 16, "points": 128},
}
_DEEP = 40  # levels of lists and mappings; a config has six


class Submission(BaseModel):
    """A pipeline that is asked for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    config: dict[str, Any] | str = Field(description="The config as a mapping, or as YAML text without anchors.", examples=[EXAMPLE])
    priority: int = Field(default=0, ge=PRIORITIES.start, lt=PRIORITIES.stop, description="The higher, the earlier.")


class Attempt(BaseModel):
    """One Ray job of a stage. Times are seconds since 1970."""

    number: int = Field(examples=[1])
    job: str = Field(examples=["quickstart-20260101-3fa2c1-pretrain-1"])
    state: str = Field(examples=["running"], description="queued, running, succeeded, failed, stopped, lost, or retried")
    started: float | None
    ended: float | None
    message: str | None
    cause: str | None = Field(description="Of a failure: node lost, killed, memory, gpu memory, preempted, time limit, other.")


class Stage(BaseModel):
    """A stage of a pipeline."""

    name: str = Field(examples=["pretrain"])
    state: str = Field(examples=["running"])
    seconds: float | None = Field(examples=[61.5])
    message: str | None
    mlflow_run: str | None
    attempts: list[Attempt]


class Pipeline(BaseModel):
    """A pipeline: what was asked and how far it got. Times are seconds since 1970."""

    pipeline: str = Field(examples=["quickstart-20260101-3fa2c1"])
    name: str = Field(examples=["quickstart"])
    owner: str = Field(examples=["anna"])
    priority: int = Field(examples=[0])
    state: str = Field(examples=["running"], description="queued, running, succeeded, failed, cancelled, or interrupted: carried by nobody")
    stage: str | None = Field(examples=["pretrain"], description="The first that has not succeeded.")
    created: float
    ended: float | None
    message: str | None = Field(examples=["waits for its turn: at most 2 pipelines run at once on this cluster"])
    mlflow_run: str | None
    stages: list[Stage]


class WholePipeline(Pipeline):
    """A pipeline with its resolved config, and what came of it once it has ended."""

    config: dict[str, Any]
    summary: dict[str, Any] | None


class RunningPipeline(Pipeline):
    """A pipeline that runs, and the last line that each running stage said of itself."""

    says: dict[str, str] = Field(examples=[{"pretrain": "epoch 3/12 step 20/105 loss 5.970, 41 clouds/s, 2 min left"}])


class SweepFound(Pipeline):
    """A sweep, what it found, and its report as Markdown once it has ended."""

    sweep: dict[str, Any] | None
    report: str | None


class Check(BaseModel):
    """A config that is to be checked."""

    model_config = ConfigDict(extra="forbid", strict=True)

    config: dict[str, Any] | str = Field(examples=[EXAMPLE])


class Promotion(BaseModel):
    """Why a version is to be champion."""

    model_config = ConfigDict(extra="forbid", strict=True)

    reason: Reason | None = Field(default=None, examples=["better on ModelNet40"])
    force: bool = Field(default=False, description="Against the rule: admins only, with a reason, and recorded as such.")


class Rollback(BaseModel):
    """Why the champion loses its place."""

    model_config = ConfigDict(extra="forbid", strict=True)

    reason: Reason = Field(examples=["it was trained on the wrong split"])


def config_values(sent: dict[str, Any] | str) -> dict[str, Any]:
    """The mapping that was sent. ConfigError for YAML that is none, holds anchors or is no mapping, and for text that nothing can store."""
    values: Any = _parsed(sent) if isinstance(sent, str) else sent
    if not isinstance(values, dict):
        raise ConfigError(f"config: holds {type(values).__name__}, not a mapping of sections")
    for text in _texts(values, 0):
        if "\0" in text or (not text.isprintable() and any("\ud800" <= one <= "\udfff" for one in text)):
            raise ConfigError(f"config: {text!r} holds a character that no file name and no database takes")
    return values


def _parsed(text: str) -> Any:
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEP:  # before it is built: thousands of levels take seconds
                raise ConfigError("config: is nested too deeply")
            if isinstance(event, yaml.AliasEvent):  # a few lines of them make gigabytes
                line = event.start_mark.line + 1 if event.start_mark else "?"
                raise ConfigError(f"config: line {line}: YAML sent here has no anchors and aliases; write it out")
        return yaml.load(text, Loader=UniqueKeySafeLoader)
    except ConfigError as error:
        raise ConfigError(str(error) if str(error).startswith("config: ") else f"config: {error}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"config: is not valid YAML: {error}") from None


def _texts(value: Any, depth: int) -> Iterator[str]:
    if depth > _DEEP:
        raise ConfigError("config: is nested too deeply")
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ConfigError(f"config: the key {key!r} is no name: quote it")
            yield key
            yield from _texts(inner, depth + 1)
    elif isinstance(value, int) and abs(value) >= 2**63:
        raise ConfigError("config: a number in it is too large")
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, depth + 1)
