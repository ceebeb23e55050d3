"""The REST API: the routes over one service, behind the guards. `adacrossnet serve` runs it; /docs shows it."""
from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI
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


def make_app(service: Service) -> ASGIApp:
    """The whole application. Its document is at /openapi.json."""
    app = FastAPI(title="AdaCrossNet on Ray", version=version("adacrossnet"), description=_ABOUT, redoc_url=None)
    app.state.service = service
    problems.install(app)
    for part in (pipelines, cluster, models, observe):
        app.include_router(part.router)
    return Guards(app, service.operations.settings, service.operations.ledger.database)
