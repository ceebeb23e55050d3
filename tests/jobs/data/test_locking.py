import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.data.locking import held

ROOT = Path(__file__).resolve().parents[3]
HOLDER = """
import sys, time
from pathlib import Path
from jobs.data.locking import held
with held(Path(sys.argv[1]), print):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_a_holder_that_dies_goes_to_the_one_that_waits(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "a")], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        os.kill(holder.pid, signal.SIGKILL)

    with held(tmp_path / "a", say):
        assert holder.wait(timeout=10) == -signal.SIGKILL
    holder.stdout.close()
    assert said == [f"{tmp_path / 'a'} is being prepared by another process: waiting for it to end"]


def test_a_free_folder_is_locked_in_silence_and_again_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    for folder in (tmp_path / "new" / "a", Path("new/a"), tmp_path / "new" / "b"):
        with held(folder, said.append):
            pass
    assert said == [] and sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.lock", "b.lock"]


def test_a_lock_file_that_cannot_be_written_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "a.lock").mkdir()
    with pytest.raises(ValueError, match=r"a.lock cannot be locked \(Is a directory\): choose a target"), held(tmp_path / "a", print):
        pass
