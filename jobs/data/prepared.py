"""Reading a prepared dataset: random access over memory-mapped shards, and the checks that say whether it can be trusted."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.config.places import Place, Uri, place_of
from jobs.data.cache import stages_mounts
from jobs.data.format import INDEX, MANIFEST, SPLITS, checksum_faults, presence_faults, read_manifest
from jobs.data.staging import Ahead, Files, files_of, may_fetch_ahead


class _Shard(NamedTuple):
    points: NDArray[np.float32]  # [rows, stored, channels]
    parts: NDArray[np.int16] | None  # [rows, stored]
    views: pa.ListArray


class PreparedDataset:
    """The shapes of one split (None: all), in the order of their ids.

    `keep(content)` says which geometries to take: pretraining leaves out those of the probe's validation and test with it. A content is
    the hash of the raw geometry as its source holds it (meshes and synthetic objects: triangles; shapenet-render: the PLY's points), so
    the same object in two kinds of source never matches, nor does a copy that was moved or scaled: keep() guards against the same raw
    geometry alone.
    Opening reads the manifest and the index and maps the shards, but hashes nothing: `check_shards` does. Of a dataset at a URI a shard
    is copied to this node, checked and mapped when one of its shapes is first used; who reads need not know. `files`: another way to open
    them.
    Raises ValueError when the folder is missing, is no prepared dataset, or holds no such shape.
    """

    def __init__(
        self, folder: Place | str, split: str | None, keep: Callable[[str], bool] | None = None, files: Files | None = None
    ) -> None:
        self.folder = place_of(folder)
        self.split = split
        self.manifest: dict[str, Any] = read_manifest(self.folder)
        self.categories: list[str] = list(self.manifest["categories"])
        self._files = files or files_of(self.folder, self.manifest)
        index = self._files.table(INDEX, self.manifest["index_sha256"]).to_pydict()
        if split is not None and split not in SPLITS:
            raise ValueError(f"split {split!r}: there are {', '.join(SPLITS)}")
        rows = [row for row, name in enumerate(index["split"]) if split in (None, name) and (keep is None or keep(index["content"][row]))]
        if not rows:
            counts = ", ".join(f"{name} {value['count']}" for name, value in self.manifest["splits"].items())
            raise ValueError(f"{self.folder} holds no usable shape{f' in split {split!r}' if split else ''} (shapes a split: {counts})")
        self.ids: list[str] = [index["id"][row] for row in rows]
        self.contents: list[str] = [index["content"][row] for row in rows]
        self.splits: list[str] = [index["split"][row] for row in rows]
        self.labels: NDArray[np.int64] = np.array([index["category"][row] for row in rows], np.int64)
        self._at = [(index["shard"][row], index["row"][row]) for row in rows]
        self._open()

    def _open(self) -> None:
        """Opens the files that lie here; the others when they are first used."""
        self._shards: list[_Shard | None] = [None] * len(self.manifest["shards"])
        self._ahead: Ahead | None = None
        if not self._files.lazy:
            for number in range(len(self._shards)):
                self._open_shard(number)

    def _open_shard(self, number: int) -> _Shard:
        found = self._shards[number]
        if found is not None:
            return found
        shard, stored, channels = self.manifest["shards"][number], int(self.manifest["points"]), int(self.manifest["channels"])
        table = self._files.table(shard["file"], shard["sha256"])
        if table.num_rows != shard["rows"]:
            raise ValueError(f"{self.folder / shard['file']} holds {table.num_rows} rows, the manifest says {shard['rows']}: prepare again")
        self._check_widths(shard["file"], table, stored, channels)
        opened = self._shards[number] = _Shard(
            _flat(table, "points").reshape(-1, stored, channels),
            _flat(table, "parts").reshape(-1, stored) if "parts" in table.column_names else None,
            table.column("views").combine_chunks(),
        )
        return opened

    def expect(self, rows: Iterable[int]) -> None:
        """Says in which order shapes will be read: files that are not on this node yet are fetched in it, beside the reading."""
        if not self._files.lazy or not may_fetch_ahead():
            return
        wanted = dict.fromkeys(self._at[row][0] for row in rows)
        order = [number for number in wanted if self._shards[number] is None]
        if self._ahead is not None:
            self._ahead.stop()
        self._ahead = Ahead(order, self._open_shard) if order else None

    def open(self, number: int) -> None:
        """Opens a file by its number. ValueError when it is not what the manifest says."""
        self._open_shard(number)

    def release(self) -> None:
        """Lets go of the files that were opened; they are opened again where they are used again."""
        if self._files.lazy:
            self._shards = [None] * len(self._shards)

    def shard_of(self, row: int) -> int:
        """The number of the file that holds a shape."""
        return int(self._at[row][0])

    def without_view(self) -> str | None:
        """The id of a shape that has no view; None where each has one. A file is opened only where the manifest leaves it open."""
        sure = [shard.get("fewest_views", 0) > 0 for shard in self.manifest["shards"]]
        return next((self.ids[row] for row in range(len(self)) if not sure[self._at[row][0]] and not self.view_count(row)), None)

    def _check_widths(self, file: str, table: pa.Table, stored: int, channels: int) -> None:
        """The columns hold as many numbers a row as the manifest says: else clouds would be scrambled in silence."""
        for column, expected in (("points", stored * channels), ("parts", stored)):
            if column == "parts" and column not in table.column_names:
                continue
            kind = table.schema.field(column).type if column in table.column_names else None
            width = kind.list_size if isinstance(kind, pa.FixedSizeListType) else None
            if width != expected:
                raise ValueError(
                    f"{self.folder / MANIFEST} says {stored} points a shape, but {column} of {file} holds {width} numbers a row, "
                    f"not {expected}: the manifest was edited or is another dataset's; remove the folder and prepare it again"
                )

    def only(self, rows: Sequence[int] | NDArray[np.int64]) -> PreparedDataset:
        """The same dataset with some of its shapes, in the order of `rows`."""
        some = copy.copy(self)
        some.ids, some.contents, some.splits = ([values[row] for row in rows] for values in (self.ids, self.contents, self.splits))
        some.labels, some._at = self.labels[np.asarray(rows, np.int64)], [self._at[row] for row in rows]
        return some

    def __getstate__(self) -> dict[str, Any]:
        """Without the maps: another process opens its own."""
        return {key: value for key, value in self.__dict__.items() if key not in ("_shards", "_ahead")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def __len__(self) -> int:
        return len(self.ids)

    def points(self, row: int) -> NDArray[np.float32]:
        """The stored cloud [N, 3], y up (blocks of rooms: [N, 9], z up): a read-only window on the file."""
        shard, at = self._at[row]
        return (self._shards[shard] or self._open_shard(shard)).points[at]

    def view_count(self, row: int) -> int:
        """How many views the shape has."""
        shard, at = self._at[row]
        return len((self._shards[shard] or self._open_shard(shard)).views[at])

    def view(self, row: int, which: int) -> bytes:
        """One encoded view (PNG); the others are not read."""
        shard, at = self._at[row]
        views = (self._shards[shard] or self._open_shard(shard)).views
        return views.values[views.offsets[at].as_py() + which].as_py()

    def views(self, row: int) -> list[bytes]:
        """All encoded views (PNG)."""
        return [self.view(row, which) for which in range(self.view_count(row))]

    def parts(self, row: int) -> NDArray[np.int16] | None:
        """Each point's part, in rooms its class, [N] (rows of the manifest's part_names), or None where the source has none."""
        shard, at = self._at[row]
        parts = (self._shards[shard] or self._open_shard(shard)).parts
        return None if parts is None else parts[at]


def _flat(table: pa.Table, column: str) -> NDArray[Any]:
    """The numbers of a fixed-size list column, not copied."""
    chunks = table.column(column).chunks
    return chunks[0].flatten().to_numpy(zero_copy_only=True) if chunks else np.empty(0, np.float32)


def check_shards(folder: Place | str) -> None:
    """Hash every file of the dataset; ValueError that lists those that are missing or damaged.

    Files that are copied to this node are hashed then: here it is enough that they are there.
    """
    folder = place_of(folder)
    manifest = read_manifest(folder)
    faults = presence_faults(folder, manifest) if isinstance(folder, Uri) or stages_mounts() else checksum_faults(folder, manifest)
    if faults:
        raise ValueError(
            f"{folder} is damaged:\n  " + "\n  ".join(faults) + "\nremove the named files (or the folder) and prepare it again"
        )
