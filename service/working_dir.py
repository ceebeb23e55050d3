"""The tree that a job runs in: a clean copy of `jobs/` and `configs/`, and its digest."""
from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def code_digest(tree: Path) -> str:
    """SHA-256 over the names and contents of the Python files of `jobs/`, in name order."""
    digest = hashlib.sha256()
    for path in sorted((tree / "jobs").rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(tree).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


@contextmanager
def clean_copy(tree: Path) -> Iterator[Path]:
    """A temporary folder with `jobs/` and `configs/` alone: uploads are limited to 100 MB, and caches would change their hash."""
    with tempfile.TemporaryDirectory(prefix="adacrossnet-tree-") as folder:
        for name in ("jobs", "configs"):
            if (tree / name).is_dir():
                shutil.copytree(tree / name, Path(folder) / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*"))
        yield Path(folder)
