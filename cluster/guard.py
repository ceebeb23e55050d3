"""Runs one server as its child, and when told to stop (or when its owner dies) ends that server and everything it started.

    python guard.py [--with-parent PID] [--grace SECONDS] [--remove FOLDER] -- COMMAND...

Ray and MLflow start processes of processes, in sessions of their own; a signal to the one that was started first can leave
the others behind. The guard is their subreaper (prctl(2)): an orphan becomes the guard's child and can be found. With
--with-parent the guard gets SIGTERM from the kernel when that process dies in any way, kill -9 included. The server's temporary
FOLDER goes last, whoever ended it.
"""
from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    """The server's exit status; 0 when the guard was told to stop it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--with-parent", type=int, default=0)
    parser.add_argument("--grace", type=float, default=10.0)
    parser.add_argument("--remove")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    command = asked.command[1:] if asked.command[:1] == ["--"] else asked.command
    # Blocked before anything starts: a signal that comes early waits for sigtimedwait instead of killing the guard.
    signals = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if asked.with_parent:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != asked.with_parent:  # it died before the line above
            return 1

    def in_child() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)  # if the guard itself is killed

    child = subprocess.Popen(command, start_new_session=True, preexec_fn=in_child)
    status = _wait(child.pid, signals)
    _end_all(child.pid, asked.grace)
    if asked.remove:
        shutil.rmtree(asked.remove, ignore_errors=True)
    return status


def _wait(child: int, signals: set[signal.Signals]) -> int:
    """Reaps until the server ends (its status) or the guard is told to stop (0)."""
    while True:
        got = signal.sigtimedwait(signals, 5.0)
        if got is not None and got.si_signo in (signal.SIGTERM, signal.SIGINT):
            return 0
        for pid, status in _reap():
            if pid == child:
                return os.waitstatus_to_exitcode(status) & 0xFF


def _reap() -> list[tuple[int, int]]:
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append((pid, status))


def _end_all(child: int, grace: float) -> None:
    """SIGTERM to the server alone (Ray's head and MLflow end their own children best), then to what is left, at last SIGKILL."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGTERM)
    _drain(grace, until_gone=child)
    for wait, number in ((3.0, signal.SIGTERM), (5.0, signal.SIGKILL)):
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        if _drain(wait):
            return


def _drain(seconds: float, until_gone: int | None = None) -> bool:
    """Reaps for up to `seconds`; True as soon as nothing is left below the guard (or that one child has ended)."""
    until = time.monotonic() + seconds
    while True:
        if until_gone in [pid for pid, _ in _reap()] or not psutil.Process().children(recursive=True):
            return True
        if time.monotonic() > until:
            return False
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
