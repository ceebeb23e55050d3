"""A trial's folder: what it told, its newest checkpoints, and what is left when it has ended."""
from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.pretraining import checkpoint

TOLD = "told.json"
KEPT = 2  # checkpoints
ATTEMPTS = 5  # at taking over a checkpoint that another trial may remove meanwhile


def told_before(folder: Path) -> list[dict[str, Any]]:
    """What a trial has told of its epochs so far, in order."""
    try:
        found: list[dict[str, Any]] = json.loads((folder / TOLD).read_text())
    except FileNotFoundError:
        return []
    return found


def note(folder: Path, told: dict[str, Any]) -> None:
    """Adds what a trial tells of an epoch."""
    temporary = folder / f".{TOLD}"
    temporary.write_text(json.dumps([*told_before(folder), told]))
    temporary.rename(folder / TOLD)


def keep(folder: Path, epoch: int, write: Callable[[Path], None]) -> Path:
    """Writes a checkpoint of the trial and removes all but the newest."""
    place = folder / f"epoch-{epoch:05d}"
    fresh = folder / f".{place.name}"
    for left_over in (fresh, place):
        shutil.rmtree(left_over, ignore_errors=True)
    fresh.mkdir()
    write(fresh)
    fresh.rename(place)
    for old in sorted(folder.glob("epoch-*"))[:-KEPT]:
        shutil.rmtree(old)
    return place


def taken_over(folder: Path, other: Path) -> Path | None:
    """The checkpoint `other` of another trial, or the newest that it has by now, as the only one of this trial. None when it has none.

    It is linked, not copied, where the storage can: the other trial goes on and removes its own.
    """
    for _ in range(ATTEMPTS):
        chosen = checkpoint.usable(other.parent, other)[0]
        if chosen is None:
            return None
        fresh = folder / f".from-{chosen.name}"
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            shutil.copytree(chosen, fresh, copy_function=_linked)
        except (FileNotFoundError, shutil.Error):  # removed while it was read
            continue
        if checkpoint.fault(fresh) is None:
            for old in folder.glob("epoch-*"):  # of the setting that this trial had before
                shutil.rmtree(old)
            return fresh.rename(folder / f"epoch-{checkpoint.facts(fresh)['epoch']:05d}")
    return None


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a storage without hard links
        shutil.copy2(source, target)


def tidy(folder: Path) -> None:
    """Leaves the best encoder of a trial that has ended; its training state is some 20 times as large."""
    for path in folder.glob("*epoch-*"):
        shutil.rmtree(path, ignore_errors=True)
    for state in folder.glob(f"*/{checkpoint.STATE}"):
        state.unlink()
