"""One preparation of a folder at a time, over all processes and nodes that see it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.config.places import Place, Uri


@contextmanager
def held(folder: Place, say: Callable[[str], None]) -> Iterator[None]:
    """Holds the lock of `folder`; says so and waits while another process does. The kernel takes it back from a holder that dies.

    The lock is on `<folder>.lock` beside the folder and works over NFSv4; of a URI it is this machine's alone: two machines that prepare
    the same there write the same bytes twice. The file stays: were it removed, a waiting process would hold
    the lock of a file that others no longer see. ValueError when the file cannot be written or the file system has no locks.
    """
    path = _file(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")  # for writing: NFS grants an exclusive lock on no other
    except OSError as error:
        raise _unlockable(path, error) from None
    with file:
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"{folder} is being prepared by another process: waiting for it to end")
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            raise _unlockable(path, error) from None
        yield


def _file(folder: Place) -> Path:
    if isinstance(folder, Uri):
        name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"adacrossnet-prepare-{os.getuid()}-{name}.lock"
    return Path(f"{folder.resolve()}.lock")


def _unlockable(path: Path, error: OSError) -> ValueError:
    return ValueError(f"{path} cannot be locked ({error.strerror}): choose a target whose parent folder can be written and has file locks")
