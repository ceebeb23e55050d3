"""Health, readiness, and metrics for Prometheus."""
from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from service.context import TheService
from service.metrics import exposition
from service.mlflow_runs import TrackingAway, check_answers
from service.problems import documented
from service.submitter import SHARED, living_holder

router = APIRouter(tags=["observe"])


@router.get("/healthz")
async def healthy() -> dict[str, str]:
    """That the process answers; nothing else is asked."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "The ledger does not answer."}})
def ready(service: TheService) -> JSONResponse:
    """Whether requests can be served: the ledger answers. Ray and MLflow may be down: pipelines are queued then, and it is said."""
    operations = service.operations
    went_round = service.submitter.went_round
    since = round(time.monotonic() - went_round, 1) if went_round is not None else None
    parts: dict[str, Any] = {"ledger": "ok", "mlflow": "ok", "leader": False, "seconds_since_the_submitters_round": since}
    try:
        operations.ledger.counts()
        parts["leader"] = living_holder(operations.ledger, SHARED) == service.submitter.holder
    except Exception as error:  # whatever the database's driver raises
        parts["ledger"] = type(error).__name__
    uri = operations.tracking()
    try:
        if uri is None:
            parts["mlflow"] = "down with the embedded cluster"
        else:
            check_answers(uri, 3.0)
    except TrackingAway as error:
        parts["mlflow"] = str(error)
    return JSONResponse(parts, 200 if parts["ledger"] == "ok" else 503)


@router.get(
    "/metrics", response_class=Response, responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **documented(503)}
)
def metrics(service: TheService) -> Response:
    """Prometheus: queue length, stage durations, failures by reason, clouds a second, who leads."""
    return Response(exposition(service.operations.ledger, service.submitter.holder, service.progress), media_type=CONTENT_TYPE_LATEST)
