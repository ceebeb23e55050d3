"""Copies each SQLite database of a folder to another folder: `python -m cluster.backup FROM TO`. The databases may be in use."""
from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path


def backup(source: Path, target: Path) -> list[Path]:
    """The copies, each whole under its name: a copy that breaks off leaves the one before it."""
    target.mkdir(parents=True, exist_ok=True)
    made = []
    for path in sorted(source.glob("*.sqlite")):
        # Made on a local disk: SQLite's locks are slow, or absent, on network storage.
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / path.name
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as live, closing(sqlite3.connect(copy)) as new:
                live.backup(new)
            arriving = target / f".{path.name}.new"
            arriving.write_bytes(copy.read_bytes())
        arriving.chmod(0o600)
        os.replace(arriving, target / path.name)
        made.append(target / path.name)
    return made


if __name__ == "__main__":
    backup(Path(sys.argv[1]), Path(sys.argv[2]))
