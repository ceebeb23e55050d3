"""Leases: who may act now, over all processes and machines of a ledger."""
from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import delete, insert, update
from sqlalchemy.exc import IntegrityError

from service.database import Database
from service.tables import Lease


class Busy(ValueError):
    """Another one holds what only one may hold at a time."""


class Leases:
    """A row a scope, with its holder and when it ends."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def alone(self, scope: str, seconds: float = 30.0) -> Iterator[None]:
        """Inside, nobody else is: one at a time over all processes. Busy when another one stays too long."""
        holder, until = secrets.token_hex(8), time.monotonic() + seconds
        while not self.acquire(scope, holder, 2 * seconds):
            if time.monotonic() > until:
                raise Busy(f"{scope} is being changed by somebody else: ask again in a moment")
            time.sleep(0.1)
        try:
            yield
        finally:
            self.release(scope, holder)

    def acquire(self, scope: str, holder: str, seconds: float) -> bool:
        """Takes or renews the lease of `scope`; False while another holder's has not expired."""
        now = time.time()
        with self._database.write() as session:
            free = (Lease.holder == holder) | (Lease.expires < now)
            mine = session.execute(update(Lease).where(Lease.scope == scope, free).values(holder=holder, expires=now + seconds))
            if mine.rowcount == 1:  # type: ignore[attr-defined]
                return True
            if session.get(Lease, scope) is not None:
                return False
        try:
            with self._database.write() as session:
                session.execute(insert(Lease).values(scope=scope, holder=holder, expires=now + seconds))
            return True
        except IntegrityError:  # another one was first
            return False

    def release(self, scope: str, holder: str) -> None:
        """Gives the lease back, if it is the holder's."""
        with self._database.write() as session:
            session.execute(delete(Lease).where(Lease.scope == scope, Lease.holder == holder))

    def holder(self, scope: str) -> str | None:
        """Who holds the lease of `scope` now."""
        with self._database.read() as session:
            row = session.get(Lease, scope)
            return row.holder if row is not None and row.expires >= time.time() else None
