"""Telling others: webhooks, signed with HMAC-SHA256, tried again for hours, never sent into private networks unless that is allowed.

A notice is written in the transaction that it tells of, and delivered at least once: its `id` lets the receiver see a repetition.
The header `X-AdaCrossNet-Signature` is `t=<seconds>,v1=<hex>`, where v1 signs `<seconds>.<body>` with the secret.
"""
from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from sqlalchemy import delete, select, update

from service.database import Database
from service.settings import Settings, Webhook
from service.tables import Notice

SIGNATURE = "X-AdaCrossNet-Signature"
_TIMEOUT_S = (5, 10)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_KEPT_S = 30 * 86400.0  # notices that are over
_MOST_S = 3600.0  # between two tries
_log = logging.getLogger("adacrossnet.notices")


class Undeliverable(ValueError):
    """A try that failed; the message says why."""


def deliver_due(database: Database, settings: Settings) -> int:
    """Tries every notice that is due once; how many arrived."""
    now = time.time()
    with database.write() as session:
        session.execute(delete(Notice).where(Notice.next_try.is_(None), Notice.created < now - _KEPT_S))
    with database.read() as session:
        due = list(session.scalars(select(Notice).where(Notice.next_try <= now).order_by(Notice.next_try).limit(50)))
    hooks = {one.url: one for one in settings.webhooks}
    arrived, silent = 0, set[str]()  # targets that did not answer in this round: the others are not to wait for them
    for notice in due:
        if notice.target in silent:
            continue
        # Taken before it is sent: of two services, one sends it; and one that dies meanwhile leaves it for the next try.
        if not _take(database, notice, settings):
            continue
        hook = hooks.get(notice.target)
        try:
            if hook is None:
                raise Undeliverable("no webhook of the settings has this URL any more")
            send(hook, notice.id, notice.event, notice.body)
        except (Undeliverable, OSError, ValueError) as error:
            silent.add(notice.target)
            over = hook is None or notice.tries + 1 >= settings.webhook_tries
            host = urlsplit(notice.target).hostname  # the rest of a hook's URL is often its secret
            _log.warning("notice %d to %s: %s%s", notice.id, host, error, "; given up" if over else "")
            _set(database, notice.id, message=str(error)[:500], **({"next_try": None} if over else {}))
        else:
            arrived += 1
            _set(database, notice.id, next_try=None, message=None)
    return arrived


def send(hook: Webhook, number: int, event: str, body: dict[str, object]) -> None:
    """One POST. Undeliverable for an address that is not allowed, no answer, or one that is not 2xx; redirections are not followed."""
    text = json.dumps({"id": number, "event": event, **body}).encode()
    try:
        secret = hook.secret_file.read_bytes().strip()
    except OSError as error:
        raise Undeliverable(f"the secret {hook.secret_file} cannot be read ({error.strerror})") from None
    if not secret:
        raise Undeliverable(f"the secret {hook.secret_file} is empty")
    seconds = int(time.time())
    headers = {"Content-Type": "application/json", "User-Agent": "adacrossnet", SIGNATURE: signature(secret, seconds, text)}
    with requests.Session() as session:
        session.trust_env = False  # a proxy of the environment would resolve names itself
        session.mount("http://", _Pinned(_address(hook)))
        session.mount("https://", _Pinned(_address(hook)))
        try:
            answer = session.post(hook.url, data=text, headers=headers, timeout=_TIMEOUT_S, allow_redirects=False, stream=True)
        except requests.RequestException as error:
            raise Undeliverable(f"no answer ({type(error).__name__})") from None
        if not 200 <= answer.status_code < 300:
            raise Undeliverable(f"it answered {answer.status_code}")


def signature(secret: bytes, seconds: int, body: bytes) -> str:
    """The header's value."""
    return f"t={seconds},v1={hmac.new(secret, f'{seconds}.'.encode() + body, hashlib.sha256).hexdigest()}"


def rounds(database: Database, settings: Settings, stop: threading.Event, wait_s: float = 2.0) -> None:
    """Delivers what is due until it is told to stop."""
    while not stop.wait(wait_s):
        try:
            deliver_due(database, settings)
        except Exception:  # a busy database must not end it
            _log.exception("notices could not be delivered; they stay due")


class _Pinned(HTTPAdapter):
    """Connects to the address that was checked: a name that resolves to another one a moment later cannot lead elsewhere."""

    def __init__(self, address: str) -> None:
        super().__init__(max_retries=0)
        self._address = address

    def send(self, request: requests.PreparedRequest, *arguments: object, **options: object) -> requests.Response:
        assert request.url is not None
        parts = urlsplit(request.url)
        host = f"[{self._address}]" if ":" in self._address else self._address
        port = f":{parts.port}" if parts.port else ""
        request.headers["Host"] = parts.netloc
        request.url = parts._replace(netloc=host + port).geturl()
        if parts.scheme == "https":
            self.poolmanager.connection_pool_kw.update(server_hostname=parts.hostname, assert_hostname=parts.hostname)
        return super().send(request, *arguments, **options)  # type: ignore[arg-type]


def _address(hook: Webhook, resolve: Callable[..., list[tuple]] = socket.getaddrinfo) -> str:
    """Where the hook's name leads now. Undeliverable where that is this machine or a private network and `private` does not allow it."""
    parts = urlsplit(hook.url)
    assert parts.hostname is not None
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = [str(one[4][0]) for one in resolve(parts.hostname, port, 0, socket.SOCK_STREAM)]
    except OSError as error:
        raise Undeliverable(f"the name {parts.hostname} does not resolve ({error})") from None
    for address in found:
        if not hook.private and not _public(address):
            where = f"{parts.hostname} is {address}, this machine or in a private network"
            raise Undeliverable(f"{where}: `private: true` of the webhook allows that")
    return found[0]


def _public(address: str) -> bool:
    """Whether an address is one of the internet's; also what is wrapped into IPv6 for translation (RFC 6052, 3056)."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return _public(str(inner))
    return found.is_global and not found.is_multicast


def _take(database: Database, notice: Notice, settings: Settings) -> bool:
    wait = min(_MOST_S, settings.webhook_first_wait_s * 2**notice.tries)
    with database.write() as session:
        mine = update(Notice).where(Notice.id == notice.id, Notice.tries == notice.tries, Notice.next_try == notice.next_try)
        found = session.execute(mine.values(tries=notice.tries + 1, next_try=time.time() + wait))
        return bool(found.rowcount)  # type: ignore[attr-defined]


def _set(database: Database, notice: int, **values: object) -> None:
    with database.write() as session:
        session.execute(update(Notice).where(Notice.id == notice).values(**values))
