"""Which categories there are and which parts each has: the official table of ShapeNetPart, or one that the data bring."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.data.hdf5 import text_lines

OWN = "categories.json"
RELEASED = ("all_object_categories.txt", "overallid_to_catid_partid.json")  # beside the HDF5 release of ShapeNetPart
# Yi et al. 2016, in the order of their numbers: category, synset, how many parts. The release numbers the parts and does not name them.
OFFICIAL = (
    ("Airplane", "02691156", 4), ("Bag", "02773838", 2), ("Cap", "02954340", 2), ("Car", "02958343", 4),
    ("Chair", "03001627", 4), ("Earphone", "03261776", 3), ("Guitar", "03467517", 3), ("Knife", "03624134", 2),
    ("Lamp", "03636649", 4), ("Laptop", "03642806", 2), ("Motorbike", "03790512", 6), ("Mug", "03797390", 2),
    ("Pistol", "03948459", 3), ("Rocket", "04099429", 3), ("Skateboard", "04225987", 3), ("Table", "04379243", 3),
)  # fmt: skip


@dataclass(frozen=True)
class PartTable:
    """Categories in the order of their labels, and parts as `category/part` in the order of theirs."""

    categories: tuple[str, ...]
    parts: tuple[str, ...]

    def of(self, category: str) -> tuple[int, ...]:
        """The numbers of a category's parts."""
        return tuple(number for number, name in enumerate(self.parts) if category_of(name) == category)


def category_of(part: str) -> str:
    """`Chair` of `Chair/leg`."""
    return part.rpartition("/")[0]


OFFICIAL_TABLE = PartTable(
    tuple(name for name, _, _ in OFFICIAL), tuple(f"{name}/{number}" for name, _, parts in OFFICIAL for number in range(parts))
)


def part_table(source: Path, given: Path | None) -> PartTable:
    """The table in the file `given`, else in SOURCE/categories.json, else in the release's own files, else the official one.

    A table file is JSON: {"classes": ["Chair", ...], "parts": ["Chair/leg", ...]}. ValueError, naming the file, when it is none.
    """
    if given is not None or (source / OWN).is_file():
        return _from_json(given or source / OWN)
    if all((source / name).is_file() for name in RELEASED):
        return _from_release(source)
    return OFFICIAL_TABLE


def _from_json(path: Path) -> PartTable:
    values = _json(path)
    lists = [values.get(key) if isinstance(values, dict) else None for key in ("classes", "parts")]
    for key, found in zip(("classes", "parts"), lists, strict=True):
        if not isinstance(found, list) or not found or not all(isinstance(one, str) for one in found) or len(set(found)) != len(found):
            form = '{"classes": ["Chair", ...], "parts": ["Chair/leg", ...]}'
            raise ValueError(f"{path}: a table of parts is {form}; {key} is not such a list")
    return _checked(PartTable(tuple(lists[0] or ()), tuple(lists[1] or ())), path)


def _from_release(source: Path) -> PartTable:
    named = [line.split() for line in text_lines(source / RELEASED[0])]
    path = source / RELEASED[1]
    try:
        names = {synset: name for name, synset in named}
        parts = tuple(f"{names[synset]}/{number}" for synset, number in _json(path))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} and {RELEASED[0]} beside it do not fit each other ({type(error).__name__}: {error})") from None
    return _checked(PartTable(tuple(names.values()), parts), path)


def _checked(table: PartTable, path: Path) -> PartTable:
    stray = next((part for part in table.parts if category_of(part) not in table.categories), None)
    if stray is not None:
        raise ValueError(f"{path}: the part {stray!r} belongs to no category; parts are named CATEGORY/PART")
    bare = next((category for category in table.categories if not table.of(category)), None)
    if bare is not None:
        raise ValueError(f"{path}: the category {bare!r} has no part")
    return table


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}): it names the categories and their parts") from None
