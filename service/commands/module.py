"""Runs a job module as a subprocess on this machine: for work whose paths are local and that needs torch or the data readers."""
from __future__ import annotations

import os
import subprocess
import sys

import typer


def run_module(module: str, *arguments: str, env: dict[str, str] | None = None) -> None:
    """`python -m jobs.<module>` in the project's folder, its output passed on; its exit status becomes the command's when it fails."""
    from service.home import project_tree

    done = subprocess.run([sys.executable, "-m", f"jobs.{module}", *arguments], cwd=project_tree(), env={**os.environ, **(env or {})})
    if done.returncode:
        raise typer.Exit(done.returncode if done.returncode > 0 else 128 - done.returncode)
