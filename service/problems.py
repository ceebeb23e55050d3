"""Errors as problem details (RFC 9457): what went wrong, in words that say what to do, as `application/problem+json`."""
from __future__ import annotations

import http
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from jobs.config import ConfigError
from service.leases import Busy
from service.ledger import TooMany, Unknown
from service.mlflow_runs import NoSuch, TrackingAway
from service.operations import Conflict, Forbidden, KeyReused
from service.preflight import Unfit
from service.ray_jobs import ClusterAway
from service.registry import NoVersion
from service.roots import OutsideRoots
from service.tokens import Refused
from service.versions import NotPromoted

MEDIA = "application/problem+json"
RETRY_S = 10  # what a client waits before it asks again for what is away

# The first kind that fits tells the status.
_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (Refused, 401), (Forbidden, 403), (OutsideRoots, 403), (Unknown, 404), (NoSuch, 404), (NoVersion, 404), (Conflict, 409),
    (NotPromoted, 409), (KeyReused, 422), (ConfigError, 422), (Unfit, 422), (TooMany, 429), (Busy, 409), (TrackingAway, 503),
    (ClusterAway, 503), (SQLAlchemyError, 503),
)  # fmt: skip


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = "about:blank"
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["config: pretrain.epoch: unknown key; did you mean 'epochs'?"])
    instance: str = Field(examples=["/v1/pipelines"])


def problem(status: int, detail: str, instance: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer that tells of an error."""
    try:
        title = http.HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    told = detail.encode(errors="replace").decode()  # half of a surrogate pair, say, which no UTF-8 holds
    body = Problem(title=title, status=status, detail=told, instance=instance).model_dump()
    return JSONResponse(body, status, headers=dict(headers or {}), media_type=MEDIA)


def install(app: FastAPI) -> None:
    """Every error that people can meet leaves the app as a problem."""

    async def ours(request: Request, error: Exception) -> JSONResponse:
        status = next(code for kind, code in _STATUS if isinstance(error, kind))
        detail = str(error)
        if isinstance(error, SQLAlchemyError):
            detail = f"the ledger's database does not answer ({type(error).__name__}); nothing was changed"
        headers = {"Retry-After": str(RETRY_S)} if status in (429, 503) else {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        return problem(status, detail, request.url.path, headers)

    async def invalid(request: Request, error: Any) -> JSONResponse:
        faults = "\n".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        return problem(422, faults, request.url.path)

    async def by_http(request: Request, error: Any) -> JSONResponse:
        return problem(error.status_code, str(error.detail), request.url.path, error.headers)

    async def bug(request: Request, _: Exception) -> JSONResponse:  # the log has the traceback, by the same name
        return problem(500, f"a fault of the service; its log tells more of the request {request.state.id}", request.url.path)

    app.add_exception_handler(Exception, bug)
    for kind, _ in _STATUS:
        app.add_exception_handler(kind, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, by_http)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route, for the OpenAPI document."""
    content = {MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": http.HTTPStatus(status).phrase, "model": Problem, "content": content} for status in statuses}
