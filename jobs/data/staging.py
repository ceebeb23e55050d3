"""How the files of a prepared dataset are opened: where they lie, or as copies on this node that are made when they are first wanted."""
from __future__ import annotations

import atexit
import queue
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import pyarrow as pa

from jobs.config.places import Place, Uri
from jobs.data import buckets, stores
from jobs.data.cache import Cache, node_cache, stages_mounts
from jobs.data.format import INDEX, map_table, table_over

TOGETHER = 4  # files that are fetched ahead at once
JOIN_S = 5.0  # seconds that a process which ends waits for a fetch under way


class Files(Protocol):
    """The Arrow files of one dataset."""

    lazy: bool  # whether a file is opened when it is first used, not with the dataset

    def table(self, file: str, digest: str) -> pa.Table:
        """A file with this SHA-256, memory-mapped. ValueError when it cannot be had."""


class InPlace:
    """Read where it lies."""

    lazy = False

    def __init__(self, folder: Any) -> None:
        self.folder = folder

    def table(self, file: str, digest: str) -> pa.Table:
        return map_table(self.folder / file)


class Staged:
    """Copied to the node's cache, checked on the way. Other processes open their own: it travels as a name.

    ValueError when the store does not answer, a file is missing, or the dataset is larger than the cache.
    """

    lazy = True

    def __init__(self, folder: Place, manifest: dict[str, Any], cache: Cache) -> None:
        self.folder, self.cache = folder, cache
        wanted = {INDEX: manifest["index_sha256"], **{shard["file"]: shard["sha256"] for shard in manifest["shards"]}}
        self.sizes: dict[str, int] = {}
        if all(cache.has(digest) for digest in wanted.values()):
            return
        self.sizes = {file: size for file, size in stores.sizes(folder).items() if file in wanted}
        missing = sorted(wanted.keys() - self.sizes.keys())
        if missing:
            raise ValueError(f"{folder} lacks {', '.join(missing[:5])}, which its manifest names: prepare the dataset again")
        total = sum(self.sizes.values())
        if total > cache.limit:
            raise ValueError(
                f"{folder} holds {total / 1e9:.3g} GB, and the cache {cache.folder} may hold {cache.limit / 1e9:.3g} GB: "
                f"raise cluster.cache_gb (ADACROSSNET_CACHE_GB) to at least {1.01 * total / 1e9:.2g}, or use a disk with room for it"
            )

    def table(self, file: str, digest: str) -> pa.Table:
        place = self.folder / file
        found = self.cache.open(digest)
        if found is None:
            if file not in self.sizes:  # it was here when the dataset was opened, and had to go since
                self.sizes |= stores.sizes(self.folder)
            found = self.cache.bring(digest, self.sizes.get(file, 1), str(place), lambda: stores.chunks(place))
        return table_over(pa.py_buffer(found), place)


def files_of(folder: Place, manifest: dict[str, Any]) -> Files:
    """How this process opens the files of a dataset."""
    if isinstance(folder, Uri) or stages_mounts():
        return Staged(folder, manifest, node_cache())
    return InPlace(folder)


class Ahead:
    """Opens numbered files in the background, in a given order, until the process ends or nobody wants them any more."""

    def __init__(self, order: Sequence[int], open_one: Callable[[int], object]) -> None:
        self._todo: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in order:
            self._todo.put(number)
        self._stopped = False
        self._open_one = weakref.WeakMethod(open_one)  # threads keep no dataset alive
        self.threads = [threading.Thread(target=self._work, name="fetch-ahead", daemon=True) for _ in range(min(TOGETHER, len(order)))]
        # After pyarrow's own, which ends its clients: what was registered last is called first.
        atexit.unregister(_stop_all)
        atexit.register(_stop_all)
        _going.add(self)
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """Asks the threads to end after the file at hand."""
        self._stopped = True

    def _work(self) -> None:
        while not self._stopped:
            try:
                number = self._todo.get_nowait()
            except queue.Empty:
                return
            open_one = self._open_one()
            if open_one is None:
                return
            try:
                open_one(number)
            except (ValueError, OSError):  # whoever needs this file meets the same fault, and says it
                return
            del open_one


_going: weakref.WeakSet[Ahead] = weakref.WeakSet()


def may_fetch_ahead() -> bool:
    """A forked process leaves that to the one it came from, whose threads go on."""
    return not buckets.forked


def _stop_all() -> None:
    """An interpreter that ends under a thread in a store's client crashes."""
    going = [] if buckets.forked else list(_going)
    for one in going:
        one.stop()
    for one in going:
        for thread in one.threads:
            thread.join(JOIN_S)
