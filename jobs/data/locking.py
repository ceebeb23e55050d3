"""One preparation of a folder at a time, over all processes and nodes that see it."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Holds the lock of `folder`; says so and waits while another process does. The kernel takes it back from a holder that dies.

    The lock is on `<folder>.lock` beside the folder and works over NFSv4. The file stays: were it removed, a waiting process would hold
    the lock of a file that others no longer see. ValueError when the file cannot be written or the file system has no locks.
    """
    path = Path(f"{folder.resolve()}.lock")
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


def _unlockable(path: Path, error: OSError) -> ValueError:
    return ValueError(f"{path} cannot be locked ({error.strerror}): choose a target whose parent folder can be written and has file locks")
