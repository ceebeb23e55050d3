"""What stands before every request: limits on its size and rate, a name for it, an access log and the audit trail. Plain ASGI."""
from __future__ import annotations

import hashlib
import logging
import secrets
import time
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import audit
from service.database import Database
from service.problems import problem
from service.rates import Buckets
from service.settings import Settings

_log = logging.getLogger("adacrossnet.access")
_PROVEN = 10_000  # callers who are remembered as let in
_STRANGERS_A_MINUTE = 60  # lines of the trail about requests without a valid token
_UNKNOWN_SHARE = 10  # an address without a valid token gets this part of the rate
_OPEN = ("/healthz", "/readyz")  # asked by probes, all the time
_CHANGES = ("POST", "PUT", "PATCH", "DELETE")


@dataclass
class Guards:
    """Wraps the app."""

    app: ASGIApp
    settings: Settings
    database: Database
    buckets: Buckets = field(default_factory=Buckets)
    proven: dict[str, None] = field(default_factory=dict)  # callers who were let in when they last asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 500
        state = scope.setdefault("state", {})
        state["id"] = secrets.token_hex(8)
        address = (scope.get("client") or ("",))[0]

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"], (b"x-request-id", state["id"].encode()), (b"x-content-type-options", b"nosniff"),
                    (b"cache-control", b"no-store"),
                ]  # fmt: skip
            await send(message)

        try:
            await self._let_through(scope, receive, answer, address)
        finally:
            person = state.get("person")
            who = person.name if person is not None else ""
            if scope["path"] not in _OPEN:
                path = scope.get("raw_path", b"").decode("latin-1")  # as it was sent: a line break in it makes no second line
                _log.info("%s %s %d", scope["method"], path, status, extra={
                    "request": state["id"], "who": who, "address": address, "seconds": round(time.monotonic() - began, 4),
                })  # fmt: skip
            # Of requests without a valid token so many a minute: the access log has them all.
            told = person is not None or (status in (401, 403) and not self.buckets.take("strangers", _STRANGERS_A_MINUTE))
            if scope["method"] in _CHANGES and not state.get("written") and told:
                action, thing = audit.action_of(scope), state.get("thing") or scope["path"]
                await run_in_threadpool(audit.record, self.database, who or "-", action, thing, status, address)

    async def _let_through(self, scope: Scope, receive: Receive, send: Send, address: str) -> None:
        headers = dict(scope["headers"])
        most = self.settings.body_kb * 1024
        said = f"the body is larger than {self.settings.body_kb} kB, the most that is taken here"
        length = headers.get(b"content-length", b"")
        if length and (not length.isdigit() or int(length) > most):
            await problem(413, said, scope["path"])(scope, receive, send)
            return
        caller = _caller(headers, address)
        if scope["path"] not in _OPEN and (wait := self._wait(caller, address)) > 0:
            seconds = int(wait) + 1
            late = problem(429, f"too many requests: the next one is taken in {seconds} s", scope["path"], {"Retry-After": str(seconds)})
            await late(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > most:
                raise HTTPException(413, said)  # which the app answers as it answers its own
            return message

        await self.app(scope, counted, send)
        self._prove(caller, scope["state"].get("person") is not None)

    def _wait(self, caller: str, address: str) -> float:
        """Seconds until the caller may ask again. One who was let in lately has a rate of their own; all else shares its address's."""
        if caller in self.proven:
            return self.buckets.take(caller, self.settings.requests_per_minute)
        return self.buckets.take(f"unknown {address}", max(1, self.settings.requests_per_minute // _UNKNOWN_SHARE))

    def _prove(self, caller: str, let_in: bool) -> None:
        self.proven.pop(caller, None)
        if let_in:
            self.proven[caller] = None
            if len(self.proven) > _PROVEN:
                self.proven.pop(next(iter(self.proven)))


def _caller(headers: dict[bytes, bytes], address: str) -> str:
    """What stands for the one who asks in memory: the hash of what they authorise themselves with, or their address."""
    sent = headers.get(b"authorization", b"")
    return hashlib.sha256(sent).hexdigest() if sent else address
