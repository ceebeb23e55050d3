"""Bearer tokens: made once, kept as their SHA-256, looked up at every request, so that a revoked one ends at once.

A token is `acn_<id>_<secret>`; the secret is 256 random bits, which is why a plain hash keeps it safe.
"""
from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from typing import Literal, NamedTuple, get_args

from sqlalchemy import func, select, update

from service.database import Database
from service.tables import LOCAL, Token

Role = Literal["viewer", "submitter", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)  # each may do what those before it may
_TOKEN = re.compile(r"acn_([0-9a-f]{8})_[A-Za-z0-9_-]{43}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,79}")


class Person(NamedTuple):
    """Who asks, and what they may."""

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Whether their role reaches as far."""
        return ROLES.index(self.role) >= ROLES.index(role)

    def owns(self, owner: str) -> bool:
        """Whether they may act on what this owner has submitted."""
        return self.role == "admin" or (self.role == "submitter" and self.name == owner)


ANYBODY = Person(LOCAL, "admin")  # where no token was ever made: whoever reaches the loopback of this machine


class Refused(ValueError):
    """No token, or one that is not valid; the message says what is wrong with it."""


def create(database: Database, name: str, role: Role, days: float | None) -> str:
    """A new token, which nobody can read again. ValueError for a name that is none or a life that has no length."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} names nobody: letters, digits, . _ @ - and at most 80 of them, a letter or digit first")
    if name == LOCAL:
        raise ValueError(f"{LOCAL!r} owns what is submitted on the service's own machine: choose another name")
    if days is not None and not 0 < days <= 3660:
        raise ValueError(f"--days is {days:g}: a token lives between 0 and 3660 days")
    public = secrets.token_hex(4)
    token = f"acn_{public}_{secrets.token_urlsafe(32)}"
    now = time.time()
    expires = now + days * 86400 if days is not None else None
    with database.write() as session:
        session.add(Token(id=public, name=name, role=role, digest=_digest(token), created=now, expires=expires))
    return token


def listed(database: Database) -> list[Token]:
    """Every token that was made, the newest first; without the secrets, which are not kept."""
    with database.read() as session:
        return list(session.scalars(select(Token).order_by(Token.created.desc())))


def revoke(database: Database, which: str) -> list[str]:
    """Ends a token by its id, or all of a person by their name; the ids that were ended. ValueError when there is none to end."""
    with database.write() as session:
        rows = session.scalars(select(Token).where((Token.id == which) | (Token.name == which), Token.revoked.is_(None)))
        ids = [row.id for row in rows]
        session.execute(update(Token).where(Token.id.in_(ids)).values(revoked=time.time()))
    if not ids:
        raise ValueError(f"no token {which!r} that is not revoked already: `adacrossnet token list` shows them")
    return ids


def required(database: Database) -> bool:
    """Whether tokens are asked for: from the first one on, also after all were revoked."""
    with database.read() as session:
        return bool(session.scalar(select(func.count()).select_from(Token)))


def who(database: Database, token: str) -> Person:
    """Whose token it is. Refused when it is malformed, unknown, expired or revoked; an unknown one is not told from a wrong secret."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise Refused("this is no token of this service: they look like acn_1a2b3c4d_…, from `adacrossnet token create`")
    with database.read() as session:
        row = session.get(Token, match[1])
    if row is None or not hmac.compare_digest(row.digest, _digest(token)):
        raise Refused("the token is not known here")
    if row.revoked is not None:
        raise Refused(f"the token {row.id} was revoked: ask for a new one")
    if row.expires is not None and row.expires < time.time():
        raise Refused(f"the token {row.id} expired on {time.strftime('%Y-%m-%d', time.gmtime(row.expires))}: ask for a new one")
    return Person(row.name, row.role)  # type: ignore[arg-type]  # written by `create`


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
