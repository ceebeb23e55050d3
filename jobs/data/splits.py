"""Train, validation and test by groups of equal geometry, stratified by class: exact duplicates never stand on both sides."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

SALT = "adacrossnet splits 1"


@dataclass(frozen=True)
class Entry:
    """What a split needs to know of a shape."""

    id: str
    category: str
    content: str
    split: str | None  # where the source says so


def assign(entries: Sequence[Entry], val_share: float = 0.1, test_share: float = 0.1) -> tuple[dict[str, str], dict[str, str]]:
    """(split of each usable id, reason of each refused id).

    A group is the shapes of equal content. Groups under two or more labels are refused. Where the source gives splits, they stand;
    a group that it puts in several keeps the one furthest from training (test, then val) and its other copies are refused, so the
    published test set stays whole; classes without validation give `val_share` of their training groups. Where it gives none, `test_share`
    of them are test. Shares are the first groups of a class by salted hash, rounded down, at least one where there are three.
    """
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry.content].append(entry)
    splits: dict[str, str] = {}
    refused: dict[str, str] = {}
    given: dict[str, dict[str, str | None]] = defaultdict(dict)  # category -> content -> split so far
    source_splits = any(entry.split for entry in entries)
    for content, group in groups.items():
        labels = sorted({entry.category for entry in group})
        if len(labels) > 1:
            refused |= {entry.id: f"the same geometry stands under several labels: {', '.join(labels)}" for entry in group}
            continue
        given[labels[0]][content] = kept = _kept_split(group) if source_splits else None
        for entry in group:
            if source_splits and (entry.split or "train") != kept:
                refused[entry.id] = f"a copy of {next(e.id for e in group if e.split == kept)}, which the source puts in {kept}"
    for contents in given.values():
        decided = _decided(contents, val_share, 0 if source_splits else test_share)
        splits |= {entry.id: decided[content] for content in contents for entry in groups[content] if entry.id not in refused}
    return splits, refused


def _kept_split(group: list[Entry]) -> str:
    """Of the splits that the source gives to copies of one geometry, the one furthest from training."""
    present = {entry.split or "train" for entry in group}
    return next(split for split in ("test", "val", "train") if split in present)


def _decided(contents: dict[str, str | None], val_share: float, test_share: float) -> dict[str, str]:
    """The split of each group of one class; `test_share` is 0 where the source says what is test."""
    decided = {content: split or "train" for content, split in contents.items()}
    free = sorted((content for content, split in decided.items() if split == "train"), key=_salted)
    val = _count(val_share, len(free))
    if "val" not in decided.values():
        decided |= dict.fromkeys(free[:val], "val")
    test = min(_count(test_share, len(free)), len(free) - val - 1)  # one at least is left to train on
    return decided | dict.fromkeys(free[val : val + max(test, 0)], "test")


def _count(share: float, groups: int) -> int:
    if not share:
        return 0
    return max(math.floor(share * groups + 1e-9), 1 if groups >= 3 else 0)  # 0.7 of 10 is 7, though 0.7 is a little less


def _salted(content: str) -> str:
    return hashlib.sha256(f"{SALT}/{content}".encode()).hexdigest()
