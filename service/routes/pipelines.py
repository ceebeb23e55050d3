"""Pipelines: submit, list, show, cancel, resume, logs."""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from service import summary
from service.context import ASubmitter, TheService, Viewer, about, act_of
from service.facts import pipeline_facts
from service.kept_logs import BYTES_PER_S, texts
from service.operations import Conflict
from service.problems import documented
from service.tables import ENDED
from service.wire import Name, Pipeline, PipelineId, Submission, WholePipeline, config_values

router = APIRouter(prefix="/v1/pipelines", tags=["pipelines"])
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$",
        description="The same key with the same body again gives the pipeline that the first one made.",
    ),
]  # fmt: skip


class Submitted(BaseModel):
    """A pipeline that was queued."""

    pipeline: str = Field(examples=["quickstart-20260101-3fa2c1"])
    stages: list[str] = Field(examples=[["prepare", "pretrain", "evaluate", "register"]])
    message: str | None = Field(description="What it waits for, where that is known.")


class Page(BaseModel):
    """Pipelines, newest first."""

    pipelines: list[Pipeline]
    next: str | None = Field(description="`before` of the next page; null on the last.")


@router.post("", status_code=201, responses=documented(401, 403, 413, 422, 429, 503))
def submit(asked: Submission, service: TheService, person: ASubmitter, request: Request, answer: Response, key: Key = None) -> Submitted:
    """Queue a pipeline. It is checked, written to the ledger and answered at once; the submitter does the rest, also when the cluster is
    down now. 200 instead of 201: the same request came before."""
    down = "its cluster does not run: it is queued, and goes on once that is up" if service.operations.endpoint() is None else None
    act = act_of(request, person, "", 201)
    queued = service.operations.submit(config_values(asked.config), person, asked.priority, key, act)
    about(request, queued.id, written=queued.new)
    if not queued.new:
        answer.status_code = 200
    answer.headers["Location"] = f"/v1/pipelines/{queued.id}"
    return Submitted(pipeline=queued.id, stages=list(queued.stages), message=down)


@router.get("", responses=documented(401, 404, 422))
def list_pipelines(
    service: TheService, _: Viewer,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
    before: PipelineId | None = None,
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"] | None = None,
    owner: Name | None = None,
    name: Name | None = None,
) -> Page:  # fmt: skip
    """List pipelines, newest first, a page at a time."""
    ledger, home = service.operations.ledger, service.operations.home
    rows = ledger.recent(limit, before=before, state=state, owner=owner, name=name)
    return Page(pipelines=[Pipeline(**pipeline_facts(row, ledger, home)) for row in rows], next=rows[-1].id if len(rows) == limit else None)


@router.get("/{pipeline}", responses=documented(401, 404, 422))
def show(pipeline: PipelineId, service: TheService, _: Viewer) -> WholePipeline:
    """A pipeline: its stages, attempts, config, what it waits for, and what came of it."""
    ledger, home = service.operations.ledger, service.operations.home
    row = ledger.get(pipeline)
    return WholePipeline(**pipeline_facts(row, ledger, home), config=row.config, summary=summary.read(pipeline, home))


@router.post("/{pipeline}/cancel", status_code=202, responses=documented(401, 403, 404, 409, 422))
def cancel(pipeline: PipelineId, service: TheService, person: ASubmitter, request: Request) -> Pipeline:
    """Cancel a pipeline: the submitter stops its job and ends it."""
    about(request, pipeline)
    row = service.operations.cancel(pipeline, person, act_of(request, person, pipeline, 202))
    about(request, pipeline, written=True)
    return Pipeline(**pipeline_facts(row, service.operations.ledger, service.operations.home))


@router.post("/{pipeline}/resume", status_code=202, responses=documented(401, 403, 404, 409, 422))
def resume(pipeline: PipelineId, service: TheService, person: ASubmitter, request: Request) -> Pipeline:
    """Go on with a failed or cancelled pipeline: finished stages are kept, the open one gets a new attempt."""
    about(request, pipeline)
    row = service.operations.resume(pipeline, person, act_of(request, person, pipeline, 202))
    about(request, pipeline, written=True)
    return Pipeline(**pipeline_facts(row, service.operations.ledger, service.operations.home))


@router.get(
    "/{pipeline}/logs", response_class=StreamingResponse,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **documented(401, 404, 409, 422)},
)  # fmt: skip
def logs(
    pipeline: PipelineId, service: TheService, _: Viewer,
    stage: Annotated[Name | None, Query(description="Of this stage alone.")] = None,
    follow: Annotated[bool, Query(description="Go on until the pipeline ends.")] = False,
) -> StreamingResponse:  # fmt: skip
    """What the jobs of a pipeline print, as it comes."""
    ledger, home = service.operations.ledger, service.operations.home
    known = [one.name for one in ledger.get(pipeline).stages]
    if stage is not None and stage not in known:
        raise Conflict(f"{pipeline} has no stage {stage}, but {', '.join(known)}")

    async def stream() -> AsyncIterator[bytes]:  # a follower waits for long: it must hold no thread meanwhile
        printed: dict[str, int] = {}
        while True:
            ended = (await run_in_threadpool(ledger.get, pipeline)).state in ENDED
            said = await run_in_threadpool(lambda: "".join(texts(pipeline, stage, follow, printed, ledger, home, once=True)))
            yield said.encode()
            if ended or not follow:
                return
            await asyncio.sleep(1 + sum(printed.values()) / BYTES_PER_S)

    return StreamingResponse(stream(), media_type="text/plain; charset=utf-8")
