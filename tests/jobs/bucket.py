"""A bucket that is a folder: everything but the network of an object store, through the same calls."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.fs
import pytest

from jobs.data import buckets


class LocalStore:
    """pyarrow's file system of a folder, in which keys need no folders made first."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.files = folder, pyarrow.fs.SubTreeFileSystem(str(folder), pyarrow.fs.LocalFileSystem())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.files, name)

    def open_output_stream(self, key: str) -> Any:
        (self.folder / key).parent.mkdir(parents=True, exist_ok=True)
        return self.files.open_output_stream(key)


def bucket_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    """s3://NAME/... is `folder`/NAME/... from now on."""
    store = LocalStore(folder)
    monkeypatch.setattr(buckets, "_client", lambda scheme, bucket: store)
    return store
