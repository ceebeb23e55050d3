"""When the raw files of a prepared dataset were last written. It stands beside the dataset, whose own bytes depend on contents alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from jobs.config import digest_of
from jobs.config.places import Place, Uri
from jobs.data import stores
from jobs.data.items import Item


def remember_times(folder: Place, digest: str, items: Sequence[Item]) -> None:
    """Notes, in `<folder>.times.json`, when the files were written that the dataset with this digest was made from."""
    if any(item.modified for item in items):
        stores.write(_note(folder), json.dumps({"digest": digest, "times": _times(items)}).encode())


def rewritten(folder: Place, digest: str, items: Sequence[Item]) -> bool:
    """Whether a file was written since. False where no note stands beside the dataset (it was moved): names and sizes alone count then."""
    try:
        note = json.loads(stores.read(_note(folder)))
        return bool(note["digest"] == digest and note["times"] != _times(items))
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _note(folder: Place) -> Place:
    if isinstance(folder, Uri):
        return Uri(folder.scheme, folder.bucket, f"{folder.path or 'dataset'}.times.json")
    return Path(f"{folder.resolve()}.times.json")


def _times(items: Sequence[Item]) -> str:
    return digest_of([[item.id, item.modified] for item in items])
