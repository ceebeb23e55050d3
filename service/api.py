"""The REST API: the routes over one service, behind the guards. `adacrossnet serve` runs it; /docs shows it, without the internet too."""
from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from anyio import to_thread
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp

from service import problems
from service.context import Service
from service.guards import Guards
from service.routes import cluster, models, observe, pipelines

_ABOUT = """
Submit pretrainings, sweeps and whole pipelines to a Ray cluster, follow them, and move the registry's aliases.

* A request submits a validated config for known jobs, never a command line.
* Errors are problem details (RFC 9457), `application/problem+json`; `detail` says what was wrong and what to do.
* `Idempotency-Key` makes a submission safe to repeat.
* Roles: a viewer reads, a submitter submits and acts on their own pipelines, an admin on everybody's.
"""


_THREADS = 16  # for requests: more only wait for one another, fewer might all wait for a slow MLflow


@asynccontextmanager
async def _few_threads(_: FastAPI) -> AsyncIterator[None]:
    to_thread.current_default_thread_limiter().total_tokens = _THREADS
    yield


def make_app(service: Service) -> ASGIApp:
    """The whole application. Its document is at /openapi.json."""
    about = {"title": "AdaCrossNet on Ray", "version": version("adacrossnet"), "description": _ABOUT}
    app = FastAPIOffline(**about, redoc_url=None, lifespan=_few_threads)
    app.state.service = service
    problems.install(app)
    for part in (pipelines, cluster, models, observe):
        app.include_router(part.router)
    return Guards(app, service.operations.settings, service.operations.ledger.database)
