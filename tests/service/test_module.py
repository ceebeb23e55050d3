"""Commands that run a job on this machine end it when they are ended."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.service.conftest import environment

_COMMAND = str(Path(sys.executable).with_name("adacrossnet"))
_JOB = "import os, pathlib, time\npathlib.Path('began').write_text(str(os.getpid()))\ntime.sleep(60)\n"


@pytest.mark.parametrize(("given", "up"), [([], "y"), (["--up", "z"], "z")])
def test_embed_passes_the_up_axis_on(given: list[str], up: str, tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "embed.py").write_text("import sys\nprint(sys.argv[-2:])\n")
    command = [_COMMAND, "embed", ".", ".", "out.parquet", *given]
    env = environment(ADACROSSNET_PROJECT=str(tmp_path))
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"['--up', '{up}']\n"), done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("whole_group", [False, True])  # a terminal tells the job too
def test_a_signal_ends_the_job_and_then_the_command(number: signal.Signals, whole_group: bool, tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "verify.py").write_text(_JOB)
    command = subprocess.Popen(
        [_COMMAND, "data", "verify", "."], cwd=tmp_path, env=environment(ADACROSSNET_PROJECT=str(tmp_path)),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # a shell's background jobs, and so these tests, may ignore it
    )  # fmt: skip
    began = tmp_path / "began"
    until = time.monotonic() + 30
    while not (began.exists() and began.read_text()) and command.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    job = psutil.Process(int(began.read_text()))
    (os.killpg if whole_group else os.kill)(command.pid, number)
    out, _ = command.communicate(timeout=20)
    assert (command.returncode, out, job.is_running()) == (128 + number, "", False)
