"""Rooms with one area held out."""
from __future__ import annotations

from jobs.config.places import Place
from jobs.data.prepared import PreparedDataset
from jobs.data.s3dis import validation_rooms
from jobs.evaluation.scenes import rooms_of


def fold(folder: Place, area: int, val_share: float) -> dict[str, PreparedDataset]:
    """Splits of a prepared dataset of rooms, whatever splits it has itself: test is the whole of `area`, val a share of each other area's
    rooms, train the rest; without empty ones. ValueError when there is no such area."""
    whole = PreparedDataset(folder, None)
    rooms = rooms_of(whole.ids)
    areas: dict[str, list[str]] = {}
    for name in rooms:
        areas.setdefault(name.partition("/")[0], []).append(name.partition("/")[2])
    held = f"Area_{area}"
    if held not in areas:
        raise ValueError(f"{folder} holds no {held} to hold out, but {', '.join(sorted(areas))}: name others as areas")
    chosen: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for one, names in sorted(areas.items()):
        kept = validation_rooms(one, names, val_share)
        for name in sorted(names):
            chosen["test" if one == held else "val" if name in kept else "train"] += rooms[f"{one}/{name}"].tolist()
    return {split: whole.only(sorted(rows)) for split, rows in chosen.items() if rows}
