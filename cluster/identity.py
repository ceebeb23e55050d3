"""Which process is meant: a pid alone may belong to somebody else by now."""
from __future__ import annotations

import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Identity:
    """A process of this boot: its pid and its start in clock ticks since boot (proc(5), field 22)."""

    pid: int
    ticks: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Identity:
        """Of a living process; ProcessLookupError when there is none."""
        ticks = _ticks(pid)
        if ticks is None:
            raise ProcessLookupError(f"no process {pid}")
        return cls(pid, ticks, _boot())

    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return self.boot == _boot() and _ticks(self.pid) == self.ticks

    def signal(self, number: signal.Signals) -> bool:
        """Sends the signal if the process is the one that is meant; says whether it was."""
        if not self.alive():
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def wait(self, seconds: float) -> bool:
        """Whether the process ended within `seconds`."""
        until = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True

    def as_dict(self) -> dict[str, int | str]:
        """For the state file; `Identity(**value)` reads it back."""
        return asdict(self)


def _ticks(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # the name may hold blanks and brackets
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
