"""The small files of a dataset wherever it lies, and whether it is there: one set of calls for folders and for object stores."""
from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from jobs.config.places import Place, Uri, place_of
from jobs.data import buckets
from jobs.data.buckets import Passing, StorageFault

CHUNK = 1 << 20  # bytes read at once
WAITS_S = (0.5, 1.0, 2.0, 4.0)  # before the second, third ... try of a call that a store did not answer
_PASSING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN)  # what a network mount says while its server is away
Found = TypeVar("Found")


def patiently(call: Callable[[], Found]) -> Found:
    """What `call` gives, tried again while the store's faults are passing ones. StorageFault when they do not pass."""
    for wait in WAITS_S:
        try:
            return call()
        except Passing:
            time.sleep(wait)
    try:
        return call()
    except Passing as error:
        raise StorageFault(str(error)) from None


def chunks(file: Place) -> Iterator[bytes]:
    """The bytes of a file in order; FileNotFoundError where there is none. Tried once: who collects them begins anew."""
    if isinstance(file, Uri):
        yield from buckets.chunks(file)
        return
    try:
        with file.open("rb", buffering=0) as source:
            while chunk := source.read(CHUNK):
                yield chunk
    except OSError as error:
        if error.errno not in _PASSING:
            raise
        raise Passing(f"{file} cannot be read ({error.strerror}): is it mounted, and does its server answer?") from None


def read(file: Place) -> bytes:
    """The whole of a small file; FileNotFoundError where there is none."""
    return patiently(lambda: b"".join(chunks(file)))


def write(file: Place, data: bytes | Path) -> None:
    """Makes or replaces a file from bytes or from another file; in a folder whole or not at all, in a store as `buckets.write` says."""
    if isinstance(file, Uri):
        patiently(lambda: buckets.write(file, data))
        return
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_bytes(data if isinstance(data, bytes) else data.read_bytes())
    os.replace(temporary, file)


def sizes(folder: Place) -> dict[str, int]:
    """Name -> bytes of the files right in `folder`; empty where it is not there."""
    if isinstance(folder, Uri):
        return patiently(lambda: buckets.sizes(folder))
    return {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()} if folder.is_dir() else {}


def folders(folder: Place) -> list[str]:
    """Names of the folders right below."""
    if isinstance(folder, Uri):
        return patiently(lambda: buckets.folders(folder))
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def size(file: Place) -> int | None:
    """Its bytes; None where it is not there."""
    if isinstance(file, Uri):
        return patiently(lambda: buckets.size(file))
    return file.stat().st_size if file.is_file() else None


def is_file(file: Place) -> bool:
    """Whether it is there."""
    return size(file) is not None


def remove(file: Place) -> None:
    """Removes it, if it is there."""
    if isinstance(file, Uri):
        patiently(lambda: buckets.remove(file))
    else:
        file.unlink(missing_ok=True)


def check_there(file: Place) -> None:
    """ValueError when it is not there, with the reason that the store gives."""
    if is_file(file):
        return
    if isinstance(file, Uri):  # a missing bucket and wrong credentials are told apart here alone
        sizes(Uri(file.scheme, file.bucket, file.path.rpartition("/")[0]))
    raise StorageFault(f"there is no {file}")



if __name__ == "__main__":  # `python -m jobs.data.stores PLACE`
    try:
        check_there(place_of(sys.argv[1]))
    except ValueError as fault:
        sys.exit(str(fault))
