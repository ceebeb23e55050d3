"""ShapeNetPart (Yi et al. 2016): shapes whose every point has a part, in the two forms that people have.

SOURCE/ply_data_{train,val,test}*.h5        `data` [n, p, 3], `label` the category, `pid` [n, p] the part
SOURCE/<synset>/<id>.txt                    rows of x y z nx ny nz part (`shapenetcore_partanno_segmentation_benchmark_v0_normal`), with
SOURCE/synsetoffset2category.txt and SOURCE/train_test_split/shuffled_{train,val,test}_file_list.json
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.config.datasets import ShapeNetPart
from jobs.data.hdf5 import holds, items_of, rows_of, text_lines
from jobs.data.items import Item, Reject, Shape, check_name, checked_points, content_of, text_of
from jobs.data.part_table import PartTable, part_table

SPLITS = ("train", "val", "test")
COUNTS = {"train": 12137, "val": 1870, "test": 2874}  # as distributed
SYNSETS, LISTS = "synsetoffset2category.txt", "train_test_split/shuffled_{}_file_list.json"


def list_items(cfg: ShapeNetPart) -> list[Item]:
    """Every shape of the three splits. ValueError when a split, a list or a table is missing or broken, or when a part lies outside the
    parts of its shape's category (HDF5 alone: the text files are read one by one, and such a one is a reject)."""
    table = part_table(cfg.source, cfg.table)
    if not any(cfg.source.glob("ply_data_*.h5")):
        return sorted(_listed(cfg.source, table), key=lambda item: item.id)
    items = []
    for split in SPLITS:
        files = sorted(cfg.source.glob(f"ply_data_{split}*.h5"))
        if not files:
            raise ValueError(f"{cfg.source} has no ply_data_{split}*.h5: the {split} split is missing")
        for file in files:
            found = items_of([file], split, table.categories)
            _check_parts(file, [item.category for item in found], table)
            items += found
    return sorted(items, key=lambda item: item.id)


def read(item: Item, cfg: ShapeNetPart) -> Shape:
    """The cloud and its parts as they are. Reject when they are broken."""
    assert item.path is not None
    if item.row is not None:
        points = checked_points(np.asarray(rows_of(item.path, "data"))[item.row, :, :3])
        return Shape(points, content_of(points), np.asarray(rows_of(item.path, "pid"))[item.row].astype(np.int16))
    check_name(item.path, cfg.source)
    if item.split is None:
        raise Reject("stands in none of the lists of train_test_split")
    if not item.path.is_file():
        raise Reject(f"stands in train_test_split, but {item.path.relative_to(cfg.source)} is missing")
    try:
        rows = np.loadtxt(item.path, dtype=np.float64, ndmin=2)
    except ValueError as error:
        raise Reject(f"is no table of numbers ({str(error)[:120]})") from None
    if rows.shape[1] != 7:
        raise Reject(f"has {rows.shape[1]} columns; they are x y z nx ny nz part")
    points = checked_points(rows[:, :3])
    parts = rows[:, 6].astype(np.int64)
    allowed = part_table(cfg.source, cfg.table).of(item.category)
    wrong = np.flatnonzero((parts != rows[:, 6]) | ~np.isin(parts, allowed))
    if len(wrong):
        raise Reject(f"point {wrong[0]} has the part {rows[wrong[0], 6]:g}; those of {item.category} are {_said(allowed)}")
    return Shape(points, content_of(points), parts.astype(np.int16))


def variant(cfg: ShapeNetPart) -> str:
    """Which of the two forms it is."""
    return "points of the HDF5 release" if any(cfg.source.glob("ply_data_*.h5")) else "points of the text release"


def part_names(cfg: ShapeNetPart) -> tuple[str, ...]:
    """`category/part` in the order of the parts' numbers."""
    return part_table(cfg.source, cfg.table).parts


def _check_parts(file: Path, categories: list[str], table: PartTable) -> None:
    if not holds(file, "pid"):
        raise ValueError(f"{file} holds no dataset 'pid', each point's part: is it another release?")
    pid, data = np.asarray(rows_of(file, "pid")), rows_of(file, "data")
    if pid.shape != data.shape[:2] or pid.dtype.kind not in "iu":
        found = f"{list(pid.shape)} of {pid.dtype}"
        raise ValueError(f"{file}: pid has the shape {found}; it holds whole numbers, one a point of data {list(data.shape)}")
    allowed = {category: np.array(table.of(category)) for category in set(categories)}
    for row, category in enumerate(categories):
        wrong = _outside(pid[row], allowed[category])
        if len(wrong):
            raise ValueError(
                f"{file}: point {wrong[0]} of row {row} has the part {pid[row, wrong[0]]}, but those of {category} are "
                f"{_said(tuple(allowed[category]))}: name the table of these parts with `table`, or mend the file"
            )


def _outside(parts: NDArray[np.integer], allowed: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.flatnonzero(~np.isin(parts, allowed))


def _said(parts: tuple[int, ...]) -> str:
    return f"{min(parts)} to {max(parts)}" if len(parts) == max(parts) - min(parts) + 1 else ", ".join(map(str, parts))


def _listed(source: Path, table: PartTable) -> Iterator[Item]:
    """The text release: what its lists name, and what lies beside unnamed."""
    category_of = _synsets(source, table)
    split_of: dict[tuple[str, str], str] = {}
    for split in SPLITS:
        for synset, name in _names(source / LISTS.format(split)):
            if synset not in category_of:
                raise ValueError(f"{source / LISTS.format(split)} names {synset}/{name}, but {SYNSETS} knows no {synset}")
            before = split_of.setdefault((synset, name), split)
            if before != split:
                raise ValueError(f"{source / 'train_test_split'}: {synset}/{name} stands in {before} and in {split}: it must be in one")
    there = {(synset, path.stem) for synset in category_of for path in (source / synset).glob("*.txt")}
    for synset, name in split_of.keys() | there:
        path = source / synset / f"{name}.txt"
        stat = path.stat() if path.is_file() else None
        yield Item(
            text_of(Path(synset, name)), category_of[synset], split_of.get((synset, name)), path,
            fingerprint=f"{stat.st_size}" if stat else "missing", modified=str(stat.st_mtime_ns) if stat else "",
        )  # fmt: skip


def _synsets(source: Path, table: PartTable) -> dict[str, str]:
    path = source / SYNSETS
    if not path.is_file():
        raise ValueError(f"{source} is no ShapeNetPart: it holds neither ply_data_train*.h5 nor {SYNSETS} beside folders of .txt files")
    pairs = [line.split() for line in text_lines(path)]
    wrong = next((pair for pair in pairs if len(pair) != 2 or pair[0] not in table.categories), None)
    if wrong is not None:
        raise ValueError(f"{path}: {' '.join(wrong)!r} is not CATEGORY SYNSET with a category of the table ({', '.join(table.categories)})")
    return {synset: name for name, synset in pairs}


def _names(path: Path) -> Iterator[tuple[str, str]]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: it lists the shapes of its split") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}): it lists the shapes of its split") from None
    if not isinstance(entries, list):
        raise ValueError(f"{path} holds no list of shapes (shape_data/SYNSET/ID), but {type(entries).__name__}")
    for entry in entries:
        parts = str(entry).split("/")
        if len(parts) < 2:
            raise ValueError(f"{path}: {entry!r} is not shape_data/SYNSET/ID")
        yield parts[-2], parts[-1]
