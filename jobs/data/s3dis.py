"""S3DIS (Armeni et al. 2016): six areas of scanned rooms, each point with one of 13 classes, in the two forms that people have.

SOURCE/ply_data_all_*.h5 with SOURCE/room_filelist.txt and all_files.txt    blocks of 4,096 points: `data` [n, 4096, 9], `label` [n, 4096]
SOURCE/Area_*/<room>/Annotations/<class>_<number>.txt                       whole rooms: rows of x y z r g b
A row of the prepared dataset is a block; its category is its area.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from jobs.config.datasets import S3DIS, SyntheticRooms
from jobs.data.hdf5 import opened, rows_of, text_lines
from jobs.data.items import Item, Reject, Shape, check_name, checked_points, content_of, text_of
from jobs.data.rooms import CHANNELS, CLASSES, blocks

ROOMS, FILES = "room_filelist.txt", "all_files.txt"
SALT = "adacrossnet rooms 1"
NAME = re.compile(r"(Area_\d+)_(.+)")
AREAS = tuple(f"Area_{number}" for number in range(1, 7))
MOST_WRONG = 20  # lines of a room that are no row: more, and the room is refused


def list_items(cfg: S3DIS) -> list[Item]:
    """Every block of the release, or every raw room. ValueError when files are missing, broken or do not fit each other."""
    files = sorted(cfg.source.glob("ply_data_all_*.h5"), key=_number)
    return sorted(_released(cfg, files) if files else _raw(cfg), key=lambda item: item.id)


def read(item: Item, cfg: S3DIS) -> Shape | Iterator[Shape]:
    """A block of the release as it is, or the blocks of a raw room. Reject when it is broken."""
    assert item.path is not None
    if item.row is None:
        return _cut(item, cfg)
    points = np.asarray(rows_of(item.path, "data"))[item.row].astype(np.float32)
    checked_points(points)
    return Shape(points, content_of(points), np.asarray(rows_of(item.path, "label"))[item.row].astype(np.int16))


def _cut(item: Item, cfg: S3DIS) -> Iterator[Shape]:
    assert item.path is not None
    check_name(item.path, cfg.source)
    rows, classes, skipped = _room(item.path, cfg.source)
    checked_points(rows)
    for points, labels in blocks(
        rows[:, :3], rows[:, 3:], classes, name=item.id, seed=cfg.seed, points=cfg.points, stride=cfg.stride
    ):
        yield Shape(points, content_of(points), labels, skipped=skipped)
        skipped = []


def variant(cfg: S3DIS) -> str:
    """Which of the two forms it is, and what is held out."""
    released = any(cfg.source.glob("ply_data_all_*.h5"))
    form = "blocks of the HDF5 release" if released else f"1 m blocks of raw rooms, stride {cfg.stride:g} m"
    return f"{form}; Area_{cfg.test_area} held out"


def split_of(area: str, room: str, cfg: S3DIS | SyntheticRooms, rooms: dict[str, list[str]]) -> str:
    """Whole rooms alone: those of the held-out area are test, the first of each other area by salted hash validation."""
    if area == f"Area_{cfg.test_area}":
        return "test"
    return "val" if room in validation_rooms(area, rooms[area], cfg.val_share) else "train"


def validation_rooms(area: str, rooms: Sequence[str], share: float) -> list[str]:
    """The first `share` of an area's rooms by salted hash, one at least of two or more."""
    ordered = sorted(rooms, key=lambda name: hashlib.sha256(f"{SALT}/{area}/{name}".encode()).hexdigest())
    return ordered[: max(int(share * len(ordered) + 1e-9), 1 if len(ordered) >= 2 else 0)]


def _released(cfg: S3DIS, files: list[Path]) -> Iterator[Item]:
    path = cfg.source / ROOMS
    if not path.is_file():
        raise ValueError(f"{path} is missing: it names the room of each block, a line each, in the order of the files")
    listed = cfg.source / FILES
    if listed.is_file():
        ordered = [cfg.source / Path(line).name for line in text_lines(listed)]
        missing = next((file for file in ordered if not file.is_file()), None)
        if missing is not None:
            raise ValueError(f"{listed} names {missing.name}, which is not in {cfg.source}")
        files = ordered
    lines = text_lines(path)
    rows = [(file, row) for file in files for row in range(_blocks_in(file))]
    if len(rows) != len(lines):
        raise ValueError(f"{path} names {len(lines)} rooms, but the {len(files)} files hold {len(rows)} blocks: they must be as many")
    named = [_area_and_room(line, path) for line in lines]
    rooms = {area: sorted({room for one, room in named if one == area}) for area in {area for area, _ in named}}
    _check_area(cfg, rooms)
    seen: Counter[tuple[str, str]] = Counter()
    for (file, row), (area, room) in zip(rows, named, strict=True):
        number = seen[area, room]
        seen[area, room] += 1
        stat = file.stat()
        yield Item(
            f"{area}/{room}/{number:05d}", area, split_of(area, room, cfg, rooms), file, row=row,
            fingerprint=f"{file.name}:{stat.st_size}", modified=str(stat.st_mtime_ns),
        )  # fmt: skip


def _area_and_room(line: str, path: Path) -> tuple[str, str]:
    found = NAME.fullmatch(line)
    if found is None:
        raise ValueError(f"{path}: {line!r} names no room of an area, such as Area_1_conferenceRoom_1")
    return found[1], found[2]


def _blocks_in(file: Path) -> int:
    with opened(file) as found:
        for name in ("data", "label"):
            if not isinstance(found.get(name), h5py.Dataset):
                raise ValueError(f"{file} holds no dataset {name!r}, but {', '.join(sorted(found)) or 'none'}: is it another release?")
        data, label = found["data"], found["label"]
        if data.ndim != 3 or data.shape[2] != CHANNELS:
            raise ValueError(f"{file}: data has the shape {list(data.shape)}; blocks are [n, points, {CHANNELS}]")
        if label.shape != data.shape[:2] or label.dtype.kind not in "iu":
            found_shape, asked = f"{list(label.shape)} of {label.dtype}", list(data.shape[:2])
            raise ValueError(f"{file}: label has the shape {found_shape}; it holds whole numbers {asked}")
        values = label[()]
        if values.size and (values.min() < 0 or values.max() >= len(CLASSES)):
            row = int(np.flatnonzero(((values < 0) | (values >= len(CLASSES))).any(1))[0])
            raise ValueError(f"{file}: a label of row {row} lies outside 0 to {len(CLASSES) - 1}")
        return int(data.shape[0])


def _raw(cfg: S3DIS) -> Iterator[Item]:
    folders = sorted(path for path in cfg.source.glob("Area_*/*") if path.is_dir())
    if not folders:
        raise ValueError(f"{cfg.source} is no S3DIS: it holds neither ply_data_all_*.h5 nor Area_*/<room>/Annotations/*.txt")
    rooms: dict[str, list[str]] = {}
    for folder in folders:
        rooms.setdefault(folder.parent.name, []).append(folder.name)
    _check_area(cfg, rooms)
    for folder in folders:
        files, area = _annotations(folder), folder.parent.name
        stats = [file.stat() for file in files]
        yield Item(
            text_of(Path(area, folder.name)), area, split_of(area, folder.name, cfg, rooms), folder,
            fingerprint=",".join(f"{text_of(Path(file.name))}:{stat.st_size}" for file, stat in zip(files, stats, strict=True)),
            modified=",".join(str(stat.st_mtime_ns) for stat in stats),
        )  # fmt: skip


def _check_area(cfg: S3DIS, rooms: dict[str, list[str]]) -> None:
    strange = sorted(area for area in rooms if area not in AREAS)
    if strange:
        raise ValueError(f"{cfg.source} has rooms of {', '.join(strange[:5])}: S3DIS has {AREAS[0]} to {AREAS[-1]}")
    if f"Area_{cfg.test_area}" not in rooms:
        raise ValueError(f"{cfg.source} holds no Area_{cfg.test_area} to hold out (test_area), but {', '.join(sorted(rooms))}")


def _annotations(folder: Path) -> list[Path]:
    return sorted((folder / "Annotations").glob("*.txt"))


def _room(folder: Path, source: Path) -> tuple[NDArray[np.float64], NDArray[np.int64], list[tuple[str, str]]]:
    """Rows [n, 6] of x y z r g b, their classes, and the lines that are no such row. A class of no name is clutter, as in the release."""
    files = _annotations(folder)
    if not files:
        raise Reject("has no points: no .txt file in its folder Annotations")
    parts, classes, skipped = [], [], []
    for file in files:
        rows, wrong = _rows(file)
        skipped += [(text_of(file.relative_to(source)), f"line {line} is no row of x y z r g b and was left out") for line in wrong]
        if len(skipped) > MOST_WRONG:
            raise Reject(f"{len(skipped)} lines are no rows of x y z r g b, the first in {skipped[0][0]}")
        name = file.name.partition("_")[0]
        parts.append(rows)
        classes.append(np.full(len(rows), CLASSES.index(name) if name in CLASSES else CLASSES.index("clutter")))
    return np.concatenate(parts), np.concatenate(classes), skipped


def _rows(file: Path) -> tuple[NDArray[np.float64], list[int]]:
    """The rows [n, 6] and the numbers of the lines that are none: the release itself has a stray character or two."""
    try:
        table = pa.csv.read_csv(
            file,
            read_options=pa.csv.ReadOptions(column_names=list("xyzrgb"), use_threads=False),
            parse_options=pa.csv.ParseOptions(delimiter=" "),
            convert_options=pa.csv.ConvertOptions(column_types=dict.fromkeys("xyzrgb", pa.float64())),
        )
        rows = np.stack([column.to_numpy() for column in table.columns], 1)
        if np.isfinite(rows).all():
            return rows, []
    except pa.ArrowInvalid:
        pass
    kept, wrong = [], []
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        try:
            values = [float(word) for word in line.split()]
        except ValueError:
            values = []
        if len(values) == 6 and np.isfinite(values).all():
            kept.append(values)
        elif line.strip():
            wrong.append(number)
    return np.array(kept, np.float64).reshape(-1, 6), wrong


def _number(path: Path) -> tuple[int, str]:
    digits = path.stem.rpartition("_")[2]
    return (int(digits) if digits.isdigit() else -1, path.name)
