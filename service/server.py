"""The running service: HTTP, the submitter and the notices in one process, started in order and stopped in reverse."""
from __future__ import annotations

import ipaddress
import logging
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import uvicorn

from jobs.config.places import place_here
from service import notices, submitter, tokens
from service.api import make_app
from service.context import Service
from service.home import Home
from service.json_log import JsonLines
from service.ledger import Ledger
from service.operations import Operations, service_target
from service.progress import Progress
from service.promotion import read_rule
from service.settings import Settings
from service.submitter import Submitter

_STEP_S = 60.0  # that the step under way gets
_STOP_S = 10  # that open requests get when the service is told to stop
_log = logging.getLogger("adacrossnet.server")


@dataclass(frozen=True)
class Listen:
    """Where to listen and how to log."""

    host: str
    port: int
    tls_cert: Path | None = None
    tls_key: Path | None = None
    json_log: bool = False


class Unguarded(ValueError):
    """It would listen to others while nobody needs a token."""


def run(home: Home, settings: Settings, listen: Listen) -> None:
    """Serves until SIGTERM or SIGINT. Raises Unguarded, and ValueError for an address that cannot be listened on."""
    _log_to(sys.stdout, listen.json_log)
    ledger = Ledger(home.ledger_url)
    if not _loopback(listen.host) and not tokens.required(ledger.database):
        raise Unguarded(
            f"--host {listen.host} lets others reach the service, and no token exists, so everyone might do everything: "
            "`adacrossnet token create NAME --role admin` makes the first one"
        )
    if not tokens.required(ledger.database):
        _log.warning("no token exists: whoever can log in to this machine may do everything (`adacrossnet token create` ends that)")
    with _listening(listen) as listener:
        service = make_service(home, settings, ledger)
        scheme = "https" if listen.tls_cert else "http"
        address = listener.getsockname()
        _log.info("listening on %s://%s:%d, documented at /docs", scheme, listen.host, address[1])
        config = uvicorn.Config(
            make_app(service), log_config=None, access_log=False, timeout_graceful_shutdown=_STOP_S, server_header=False,
            proxy_headers=bool(settings.proxies), forwarded_allow_ips=list(settings.proxies),
            ssl_certfile=listen.tls_cert, ssl_keyfile=listen.tls_key,
        )  # fmt: skip
        for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises what ended it once more when it is done; we end in our own time
            signal.signal(number, lambda *_: None)
        home.path.mkdir(parents=True, exist_ok=True)  # nothing else may have made it, where the ledger lies elsewhere
        home.settings_file.write_text(service.operations.settings.model_dump_json())
        with working(service):
            uvicorn.Server(config).run(sockets=[listener])
    ledger.close()


def make_service(home: Home, settings: Settings, ledger: Ledger) -> Service:
    """The service's parts over one ledger; its roots made absolute. ValueError for a rule that is none."""
    roots = tuple(place_here(root) for root in settings.roots)
    read_rule(settings.rule)  # before anything is served
    settings = settings.model_copy(update={"roots": roots})
    operations = Operations(ledger, home, settings, roots, service_target(home))
    return Service(operations, Submitter(ledger, home, settings=settings), Progress(ledger, home))


@contextmanager
def working(service: Service) -> Iterator[None]:
    """The submitter and the notices go on beside, until it is left."""
    stop = threading.Event()
    operations = service.operations
    threads = [
        threading.Thread(target=submitter.rounds, args=(service.submitter, stop.is_set), name="submitter", daemon=True),
        threading.Thread(target=notices.rounds, args=(operations.ledger.database, operations.settings, stop), name="notices", daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        threads[0].join(_STEP_S)  # a step that hangs is left: another service goes on from the ledger


@contextmanager
def _listening(listen: Listen) -> Iterator[socket.socket]:
    """The socket, bound before anything else begins: a port that is taken is said at once."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((listen.host, listen.port))
    except OSError as error:
        listener.close()
        raise ValueError(f"{listen.host}:{listen.port} cannot be listened on ({error.strerror}): choose another --port or --host") from None
    try:
        yield listener
    finally:
        listener.close()


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _log_to(stream: TextIO, as_json: bool) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines() if as_json else logging.Formatter("%(asctime)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("adacrossnet").setLevel(logging.INFO)
