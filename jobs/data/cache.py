"""A node's copies of dataset files, named by their SHA-256: fetched once whatever the number of processes, the oldest go first.

<digest>        a file, whole and checked; whoever reads it holds a shared lock on it, and nobody removes it meanwhile
<digest>.note   its size once it is whole; whoever fetches it holds the lock on this, and the others wait for that
<digest>.part   a file that is being fetched, at its full size from the start; one that nobody fetches was left by a process that died
room.lock       held while room is made
"""
from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from jobs.config import names
from jobs.data.buckets import Passing, StorageFault
from jobs.data.stores import WAITS_S

DEFAULT_GB = 50.0
SPARE = 200_000_000  # bytes that are left free on the disk
_locks: set[int] = set()  # descriptors of the locks that this process holds


def _after_fork() -> None:
    """A forked child shares its parent's locks, and those of the parent's other threads would never be given back by it."""
    for descriptor in _locks:
        os.close(descriptor)
    _locks.clear()


os.register_at_fork(after_in_child=_after_fork)


class Full(ValueError):
    """No room: everything in the cache is open, or the file is larger than the cache may be."""


@dataclass(frozen=True)
class Cache:
    """A folder on this node's own disk and how many bytes it may hold."""

    folder: Path
    limit: int

    def has(self, digest: str) -> bool:
        """Whether the file is here, whole; it may go until it is opened."""
        try:
            return (self.folder / digest).stat().st_size == self._noted(digest)
        except OSError:
            return False

    def open(self, digest: str) -> mmap.mmap | None:
        """The file, mapped; it stays while the map is used by anybody. None when it is not here, or not as large as it was."""
        try:
            file = (self.folder / digest).open("rb", buffering=0)
        except FileNotFoundError:
            return None
        with file:
            fcntl.flock(file, fcntl.LOCK_SH)  # waits a moment at most: an exclusive one is held only to remove the file
            found = os.fstat(file.fileno())
            if not found.st_nlink or found.st_size != self._noted(digest):
                return None
            os.utime(file.fileno())
            # The map keeps the descriptor open, and with it the lock.
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def bring(self, digest: str, size: int, called: str, chunks: Callable[[], Iterable[bytes]]) -> mmap.mmap:
        """The same, fetched first unless another process did: `chunks` gives the bytes anew at each call, `called` is for messages.

        ValueError when there is no room, when the bytes are not those of `digest` twice, when the store does not give them.
        """
        with _locked(self._note(digest)) as note:
            while (found := self.open(digest)) is None:
                self._fetch(digest, size, called, chunks)
                os.ftruncate(note, 0)
                os.pwrite(note, str(size).encode(), 0)
            return found

    def _fetch(self, digest: str, size: int, called: str, chunks: Callable[[], Iterable[bytes]]) -> None:
        """Leaves the whole, checked file under its name."""
        part, waits, wrong = self.folder / f"{digest}.part", list(WAITS_S), 0
        descriptor = self._room(part, size, called)
        try:
            while True:
                try:
                    found = _copied(descriptor, chunks(), size)
                except Passing as error:
                    if not waits:
                        raise StorageFault(str(error)) from None
                    time.sleep(waits.pop(0))
                    continue
                except FileNotFoundError:
                    raise StorageFault(f"{called} is missing: prepare the dataset again") from None
                if found == digest:
                    break
                wrong += 1
                if wrong == 2:
                    raise ValueError(
                        f"{called} is damaged: its SHA-256 is not the manifest's, twice; "
                        "remove that file, and the same `data prepare` again makes it anew"
                    )
            os.fsync(descriptor)  # else a machine that dies could leave the name without the bytes
            os.replace(part, self.folder / digest)
        except OSError as error:
            raise ValueError(f"{called} cannot be copied to {self.folder} ({error.strerror}): free it, or set cluster.cache") from None
        finally:
            os.close(descriptor)
            part.unlink(missing_ok=True)

    def _room(self, part: Path, size: int, called: str) -> int:
        """The descriptor of the file to write, `size` bytes long already, which other processes that make room count."""
        with _locked(self.folder / "room.lock"):
            part.unlink(missing_ok=True)
            held = sorted(self._files(), key=lambda one: one[1])
            total = sum(size for _, _, size in held)
            for path, _, freed in held:
                if total + size <= self.limit and shutil.disk_usage(self.folder).free >= size + SPARE:
                    break
                if self._removed(path):
                    total -= freed
            if total + size > self.limit:
                raise Full(
                    f"{called} ({_gb(size)}) finds no room in {self.folder}: {_gb(total)} of {_gb(self.limit)} are open in processes of "
                    "this machine: raise cluster.cache_gb (ADACROSSNET_CACHE_GB), or run less at once"
                )
            descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, size)
            except OSError as error:
                os.close(descriptor)
                part.unlink()
                raise Full(f"{self.folder} has no room for {_gb(size)} ({error.strerror}): free that disk, or set cluster.cache") from None
            return descriptor

    def _files(self) -> Iterator[tuple[Path, int, int]]:
        """(path, when it was last opened, bytes) of what takes room."""
        for path in self.folder.iterdir():
            if path.suffix in ("", ".part"):
                with suppress(FileNotFoundError):
                    found = path.stat()
                    yield path, found.st_mtime_ns, found.st_size

    def _removed(self, path: Path) -> bool:
        """Removes a file that nobody fetches and nobody has open; whether it did."""
        with suppress(BlockingIOError, FileNotFoundError), _locked(self._note(path.stem), wait=False), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            return True
        return False

    def _note(self, digest: str) -> Path:
        return self.folder / f"{digest}.note"

    def _noted(self, digest: str) -> int | None:
        try:
            return int(self._note(digest).read_text() or -1)
        except (OSError, ValueError):
            return None


def node_cache() -> Cache:
    """The cache that this process's environment names. ValueError when its folder cannot be used."""
    text = os.environ.get(names.ENV_CACHE_GB) or str(DEFAULT_GB)
    try:
        limit = int(float(text) * 1e9)
    except ValueError:
        raise ValueError(f"{names.ENV_CACHE_GB} is {text!r}, not a number of GB") from None
    given = os.environ.get(names.ENV_CACHE)
    folder = Path(given) if given else Path(tempfile.gettempdir()) / f"adacrossnet-cache-{os.getuid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not given and folder.stat().st_uid != os.getuid():  # its files are trusted by their names
            raise ValueError(f"{folder} belongs to another user: name a cache folder of your own (cluster.cache, {names.ENV_CACHE})")
    except OSError as error:
        raise ValueError(f"{folder} cannot be made ({error.strerror}): name another cache (cluster.cache, {names.ENV_CACHE})") from None
    return Cache(folder, limit)


def stages_mounts() -> bool:
    """Whether datasets in folders are copied to the cache too."""
    return os.environ.get(names.ENV_STAGE_MOUNTS, "") not in ("", "0")


def _gb(count: int) -> str:
    return f"{count / 1e9:.3g} GB"


def _copied(descriptor: int, chunks: Iterable[bytes], size: int) -> str:
    """Writes the bytes from the file's start on; their SHA-256, or "" when they are more or fewer than `size`."""
    hashed, written = hashlib.sha256(), 0
    for chunk in chunks:
        hashed.update(chunk)
        if written + len(chunk) > size:
            return ""
        view = memoryview(chunk)
        while view:
            done = os.pwrite(descriptor, view, written)
            written, view = written + done, view[done:]
    return hashed.hexdigest() if written == size else ""


@contextmanager
def _locked(path: Path, wait: bool = True) -> Iterator[int]:
    """Holds a file's lock, over threads and processes; BlockingIOError when it is held and `wait` is false."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    _locks.add(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield descriptor
    finally:
        # Said, not left to closing: a child forked in between has the descriptor too, until it begins to run.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        _locks.discard(descriptor)
        os.close(descriptor)
