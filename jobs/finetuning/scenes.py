"""What semantic segmentation came to: over blocks and, apart from them, over whole rooms; areas one by one and together. K classes."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.evaluation import pictures
from jobs.evaluation.scenes import class_ious, scene_scores
from jobs.finetuning.plan import SIDES, Training

RULE = (
    "plain: `points` of each block's stored points, the same at every look, confusions summed over the test blocks; voted: each of these "
    "points of a room once, the class of the largest probability summed over all blocks and copies that hold it, confusions summed over "
    "rooms; on validation the mean over the areas held out"
)


def scene_metrics(found: Mapping[Training, Any]) -> dict[str, dict[str, float]]:
    """encoder -> metric -> value: over all test blocks and rooms together, each area beside where several are held out."""
    areas = sorted({key.area for key in found if key.area is not None})
    metrics: dict[str, dict[str, float]] = {}
    for side in SIDES:
        of = {key: one for key, one in found.items() if key.side == side}
        judged = [one.facts["val"] for one in of.values()]
        values = {f"val_{name}": float(np.mean([one[name] for one in judged])) for name in judged[0]}
        if all(one.rows is not None for one in of.values()):
            values |= scene_scores(together([one.rows for one in of.values()]))
            values |= {f"voted_{name}": value for name, value in scene_scores(together([one.rooms for one in of.values()])).items()}
        if len(areas) > 1:
            for key, one in of.items():
                values |= {f"area{key.area}_{name}": value for name, value in (one.facts["test"] or {}).items()}
                if one.rooms is not None:
                    values[f"area{key.area}_voted_miou"] = scene_scores(together([one.rooms]))["miou"]
        metrics[side] = values
    return metrics


def room_mious(rooms: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """[rooms]: the voted mIoU of each room alone, of all areas."""
    return np.array([scene_scores(_square(row))["miou"] for one in rooms for row in one])


def per_class(found: Mapping[Training, Any], classes: Sequence[str]) -> list[dict[str, object]]:
    """A row a class in truth or prediction: its true points, each encoder's IoU over blocks and voted."""
    blocks = {side: together([one.rows for key, one in found.items() if key.side == side]) for side in SIDES}
    voted = {side: together([one.rooms for key, one in found.items() if key.side == side]) for side in SIDES}
    columns = {**{side: class_ious(blocks[side]) for side in SIDES}, **{f"{side}_voted": class_ious(voted[side]) for side in SIDES}}
    points = voted[SIDES[0]].sum(1)
    return [
        {"class": name, "points": int(points[row]), **{side: _number(values[row]) for side, values in columns.items()}}
        for row, name in enumerate(classes)
        if any(np.isfinite(values[row]) for values in columns.values())
    ]


def confusion_picture(found: Mapping[Training, Any], classes: Sequence[str]) -> Callable[[Path], None]:
    """Of the pretrained encoder's rooms."""
    confusion = together([one.rooms for key, one in found.items() if key.side == "trained"])
    return lambda path: pictures.confusion(path, confusion, classes, "voted, points of whole rooms", "points")


def together(rows: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """[K, K]: the sum of all rows [.., K * K]."""
    return _square(np.concatenate(rows).sum(0))


def _square(row: NDArray[np.float64]) -> NDArray[np.float64]:
    side = round(len(row) ** 0.5)
    return row.reshape(side, side)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
