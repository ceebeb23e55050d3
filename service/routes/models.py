"""Registered versions: list, show, compare, promote, roll back."""
from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import StringConstraints

from service.aliases import roll_back
from service.context import Admin, ASubmitter, TheService, Viewer, about
from service.leases import Busy
from service.operations import Conflict, Forbidden
from service.problems import documented
from service.promotion import read_rule
from service.registry import version_of
from service.versions import ALREADY, aliases_of, compared, promote_by_rule, version_facts, versions
from service.wire import Promotion, Rollback

router = APIRouter(prefix="/v1/models", tags=["models"])
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,79}$")]
Which = Annotated[str, StringConstraints(pattern=r"^([1-9][0-9]{0,8}|@[A-Za-z][A-Za-z0-9_-]{0,79})$")]  # 3 or @champion
Label = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,79}(/[1-9][0-9]{0,8}|@[A-Za-z][A-Za-z0-9_-]{0,79})$"),
    Query(examples=["adacrossnet-dgcnn@champion"]),
]  # fmt: skip


@router.get("", responses=documented(401, 503))
def list_versions(service: TheService, _: Viewer) -> list[dict[str, Any]]:
    """Every registered version, newest first, with its aliases; its tags hold its scores."""
    return [version_facts(version, aliases) for version, aliases in versions(service.runs())]


@router.get("/compare", responses=documented(401, 404, 422, 503))
def compare(service: TheService, _: Viewer, first: Label, second: Label) -> list[dict[str, Any]]:
    """The scores of two versions, second minus first, paired with an interval where both were judged on the same items."""
    runs = service.runs()
    return compared(runs, version_of(runs, first), version_of(runs, second))


@router.get("/{name}/{which}", responses=documented(401, 404, 422, 503))
def show(name: ModelName, which: Which, service: TheService, _: Viewer) -> dict[str, Any]:
    """A version, by its number or by @alias."""
    runs = service.runs()
    found = version_of(runs, _label(name, which))
    return version_facts(found, aliases_of(runs, found.name).get(str(found.version), []))


@router.post("/{name}/{which}/promote", responses=documented(401, 403, 404, 409, 422, 503))
def promote(name: ModelName, which: Which, asked: Promotion, service: TheService, person: ASubmitter, request: Request) -> dict[str, str]:
    """Make a version champion if the written rule allows it; 409 with the reasons where it does not."""
    about(request, _label(name, which))
    if asked.force and not person.may("admin"):
        raise Forbidden("to go against the rule takes the role admin")
    if asked.force and not asked.reason:
        raise Conflict("force goes against the rule: say why in reason")
    operations = service.operations
    rule, label = read_rule(operations.settings.rule), _label(name, which)
    with operations.ledger.leases.alone(f"registry/{name}"):  # judged and moved against one champion
        said = promote_by_rule(service.runs(), label, rule, person.name, asked.reason, asked.force)
        if not said.endswith(ALREADY):
            operations.ledger.note("promoted", {"version": label, "by": person.name, "said": said})
    return {"version": _label(name, which), "said": said}


@router.post("/{name}/rollback", responses=documented(401, 403, 404, 409, 422, 503))
def rollback(name: ModelName, asked: Rollback, service: TheService, person: Admin, request: Request) -> dict[str, str]:
    """Make the previous champion champion again."""
    about(request, name)
    try:
        with service.operations.ledger.leases.alone(f"registry/{name}"):
            now, before = roll_back(service.runs(), name, person.name, asked.reason)
    except Busy:
        raise
    except ValueError as error:  # there is no previous one
        raise Conflict(str(error)) from None
    return {"champion": f"{name}/{now}", "previous": f"{name}/{before}"}


def _label(name: str, which: str) -> str:
    return f"{name}{which}" if which.startswith("@") else f"{name}/{which}"
