"""The audit trail: who asked for what that changes something, from where, and how it was answered."""
from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from service.database import Database
from service.tables import Act


def record(database: Database, who: str, action: str, thing: str, status: int, address: str = "", detail: str | None = None) -> None:
    """Writes one line of the trail. `status`: the HTTP answer's; 0 on the command line."""
    with database.write() as session:
        session.add(line(who, action, thing, status, address, detail))


def action_of(scope: Mapping[str, Any]) -> str:
    """What a request does, by its route: `POST /v1/pipelines/{pipeline}/cancel`."""
    return f"{scope['method']} {getattr(scope.get('route'), 'path', scope['path'])}"


def line(who: str, action: str, thing: str, status: int, address: str = "", detail: str | None = None) -> Act:
    """A line, to be written with what it tells of."""
    plain = {"who": who[:80], "address": address[:64], "action": action[:80], "object": thing[:200]}
    kept = {key: text.replace("\0", "?") for key, text in plain.items()}  # which PostgreSQL takes in no text
    return Act(time=time.time(), status=status, detail=detail, **kept)


def recent(database: Database, limit: int, *, before: int | None = None, who: str | None = None) -> list[Act]:
    """The last lines, newest first; `before` goes on after the line of that number."""
    query = select(Act).order_by(Act.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Act.id < before)
    if who is not None:
        query = query.where(Act.who == who)
    with database.read() as session:
        return list(session.scalars(query))


def facts(act: Act) -> dict[str, object]:
    """A line for JSON."""
    return {
        "number": act.id, "time": act.time, "who": act.who, "address": act.address, "action": act.action, "object": act.object,
        "status": act.status, "detail": act.detail,
    }  # fmt: skip
