"""One server under its guard: started, waited for until it answers, stopped."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests

from cluster.identity import Identity

_GUARD = Path(__file__).with_name("guard.py")
_STOP_S = 25.0  # more than the longest grace (15 s, the submitter) and the guard's own kills (3 s and 5 s) take


class StartError(RuntimeError):
    """A server that did not come up; the message holds the end of its log."""


@dataclass
class Server:
    """A running guard and where its server writes and listens."""

    name: str
    identity: Identity
    log: Path
    port: int

    def ask_to_stop(self) -> bool:
        """Tells the guard to end the server and all it started; False when it is gone. Never touches another process."""
        return self.identity.signal(signal.SIGTERM)

    def wait_stopped(self) -> None:
        """Returns when the guard has ended, by force if it takes too long."""
        if not self.identity.wait(_STOP_S):
            self.identity.signal(signal.SIGKILL)  # the server itself then gets SIGTERM from the kernel
            self.identity.wait(2.0)


def start(
    name: str, command: list[str], env: dict[str, str], log: Path, port: int, survives: bool, grace: float, remove: Path | None = None
) -> Server:
    """Starts `command` under a guard in a process group of its own, its output in `log`.

    Unless it `survives` the calling process, it ends with it. Call from the main thread: the kernel's signal at
    the parent's death comes when the thread that started the guard ends. `remove` is a folder that goes with the server.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    owner = [] if survives else ["--with-parent", str(os.getpid())]
    if remove is not None:
        owner += ["--remove", str(remove)]
    with log.open("wb") as out:
        # -P: the guard's own folder must not come before the standard library. Its handle is not kept: the guard is known by identity.
        guard = subprocess.Popen(
            [sys.executable, "-P", str(_GUARD), *owner, "--grace", str(grace), "--", *command],
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=env, start_new_session=True,
        )  # fmt: skip
    identity = Identity.of(guard.pid)
    guard.returncode = 0  # the handle may be forgotten without a warning; a dead guard stays a zombie until this process ends
    return Server(name, identity, log, port)


def wait_until(server: Server, answers: Callable[[], bool], seconds: float) -> None:
    """Returns when the server answers; StartError with the end of its log when it ends first or takes too long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if answers():
                return
        except requests.RequestException:
            pass
        if not server.identity.alive():
            raise StartError(f"{server.name} ended while starting; the end of {server.log}:\n{tail(server.log)}")
        time.sleep(0.1)
    raise StartError(f"{server.name} did not answer within {seconds:.0f} s; the end of {server.log}:\n{tail(server.log)}")


def tail(path: Path, lines: int = 20) -> str:
    """The last lines of a text file ('' when there is none)."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
