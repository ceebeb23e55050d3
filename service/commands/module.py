"""Runs a job module as a subprocess on this machine: for work whose paths are local and that needs torch or the data readers."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import FrameType

import typer


def run_module(module: str, *arguments: str, env: dict[str, str] | None = None) -> None:
    """`python -m jobs.<module>` in the project's folder, its output passed on; its exit status becomes the command's when it fails.

    SIGINT, SIGTERM and SIGHUP end the job first and then the command, with status 128 + the signal's number.
    """
    from service.home import project_tree

    job: subprocess.Popen[bytes] | None = None
    asked: list[int] = []

    def stop(number: int, _frame: FrameType | None = None) -> None:
        asked.append(number)
        if job is not None:
            job.send_signal(_passed_on(number))

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    heard = [one for one in numbers if signal.getsignal(one) is not signal.SIG_IGN]  # under nohup SIGHUP stays ignored
    before = {one: signal.signal(one, stop) for one in heard}
    try:
        # The job inherits this: a terminal's Ctrl-C reaches it too, and it would print a traceback; it gets SIGTERM instead.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        job = subprocess.Popen([sys.executable, "-m", f"jobs.{module}", *arguments], cwd=project_tree(), env={**os.environ, **(env or {})})
        if signal.SIGINT in before:
            signal.signal(signal.SIGINT, stop)
        if asked:  # it came before the job was there to be told
            job.send_signal(_passed_on(asked[0]))
        status = job.wait()
    finally:
        for one, old in before.items():
            signal.signal(one, old)
    if asked:
        raise typer.Exit(128 + asked[0])
    if status:
        raise typer.Exit(status if status > 0 else 128 - status)


def _passed_on(number: int) -> int:
    return signal.SIGTERM if number == signal.SIGINT else number
