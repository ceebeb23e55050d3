"""Run as a subprocess: a submitter that kills itself (SIGKILL) after the first step that is not in the list of survived ones.

    python -m tests.service.killed_submitter HOME PIPELINE SURVIVED.txt

It writes the step's name to the list before it dies; when the pipeline ends it exits 0.
"""
from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from service.home import Home
from service.ledger import Ledger
from service.submitter import Submitter
from service.tables import ENDED


def main(home: Home, pipeline: str, survived: Path) -> None:
    def after(step: str) -> None:
        if step not in survived.read_text().splitlines():
            with survived.open("a") as file:
                file.write(f"{step}\n")
            os.kill(os.getpid(), signal.SIGKILL)

    submitter = Submitter(Ledger(home.ledger_url), home, after=after)
    while submitter.ledger.get(pipeline).state not in ENDED:
        submitter.tick()
        time.sleep(0.1)
    submitter.release()


if __name__ == "__main__":
    main(Home(Path(sys.argv[1])), sys.argv[2], Path(sys.argv[3]))
