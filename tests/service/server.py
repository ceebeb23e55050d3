"""`adacrossnet serve` as a real process, for tests; and asking it."""
from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from service.ledger import Ledger
from service.tokens import Role, create
from tests.service.conftest import environment

READY_S = 30.0


class Served:
    """A running server: its URL, its process, its log."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], log: Path, home: Path) -> None:
        self.url, self.process, self.log, self.home = url, process, log, home

    def ask(self, method: str, path: str, token: str | None = None, **options: Any) -> requests.Response:
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **options.pop("headers", {})}
        return requests.request(method, self.url + path, headers=headers, timeout=30, verify=options.pop("verify", True), **options)

    def token(self, name: str, role: Role = "submitter", days: float | None = None) -> str:
        ledger = Ledger(f"sqlite:///{self.home}/ledger.sqlite")
        made = create(ledger.database, name, role, days)
        ledger.close()
        return made


@contextmanager
def serving(home: Path, folder: Path, settings: str = "", *options: str, env: dict[str, str] | None = None) -> Iterator[Served]:
    """A server over `home` whose working folder, and so its root, is `folder`; ended by SIGTERM."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "service.yaml").write_text(settings)
    log = folder / f"serve-{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", "service.cli", "serve", "--port", "0", "--config", "service.yaml", "--state", str(home), *options]
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env={**environment(), **(env or {})}, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield Served(_url(process, log), process, log, home)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        match = re.search(r"listening on (https?://[\w.:\[\]]+?)[,\s]", log.read_text())
        if match:
            url = match[1]
            with contextlib.suppress(OSError), socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), 2):
                return url
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    raise AssertionError(f"no answer: {log.read_text()}")
