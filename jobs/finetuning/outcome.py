"""What the trainings of a task came to: pretrained beside random weights, their differences paired by shape, tables and pictures."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.config.places import Place
from jobs.data.prepared import PreparedDataset
from jobs.evaluation import pictures, viewer
from jobs.evaluation.iou import per_category
from jobs.evaluation.outcome import Items, Outcome
from jobs.evaluation.paired import gain
from jobs.evaluation.scenes import rooms_of
from jobs.evaluation.viewer import write_page
from jobs.finetuning import scenes
from jobs.finetuning.plan import SIDES, Training, splits_of

OF_A_ROOM = "voted_miou_of_a_room"  # of each alone; their mean is not that of all points together
Shown = tuple[str, NDArray[np.float32], NDArray[np.int64], NDArray[np.int64], float]  # id, points, true and predicted parts, IoU
RULES = {"parts": "parts of the shape's category alone; a part in neither truth nor prediction counts 1", "scenes": scenes.RULE}


@dataclass(frozen=True)
class Trained:
    """One training: its facts (training.Tuned.facts), the test rows that its task keeps, its validation by epochs, what is to look at."""

    facts: dict[str, Any]
    rows: NDArray[np.float64] | None
    curve: list[tuple[int, float]]
    shown: tuple[Shown, ...] = ()  # shapes, or whole rooms
    rooms: NDArray[np.float64] | None = None  # training.Tuned.rooms
    val_rows: NDArray[np.float64] | None = None  # as rows, on validation


def outcome_of(settings: Any, found: Mapping[Training, Trained], folder: Place, selects: str) -> Outcome:
    """Of every training of the plan on the prepared dataset in `folder`."""
    curves = {key.said: one.curve for key, one in found.items()}
    listed: dict[str, Any] = {"trainings": {key.said: one.facts for key, one in found.items()}}
    drawn: dict[str, Callable[[Path], None]] = {"learning_curves": lambda path: pictures.learning_curves(path, curves, selects)}
    make = _scenes if settings.task == "scenes" else _shapes
    metrics, headline, gains, items = make(settings, found, folder, listed, drawn)
    return Outcome(settings.task, metrics, headline, _protocol(settings, selects), gains, items, listed, drawn)


Numbers = tuple[dict[str, dict[str, float]], tuple[str, ...], dict[str, dict[str, float]], Items]  # metrics, headline, gains, items


def as_shown(shown: tuple[Shown, ...]) -> list[viewer.Shown]:
    """For a page."""
    return [
        viewer.Shown(f"{name}, IoU {iou:.2f}", points, {"truth": truth, "prediction": told}) for name, points, truth, told, iou in shown
    ]


def _shapes(
    settings: Any, found: Mapping[Training, Trained], folder: Place, listed: dict[str, Any], drawn: dict[str, Callable[[Path], None]]
) -> Numbers:
    """Classification and part segmentation, a test row a shape."""
    fractions = sorted({key.fraction for key in found})
    metrics: dict[str, dict[str, float]] = {side: {} for side in SIDES}
    gains: dict[str, dict[str, float]] = {}
    for key, one in found.items():
        for part in ("val", "test"):
            for metric, value in (one.facts[part] or {}).items():
                metrics[key.side][_named(metric, key.fraction, settings, "val_" if part == "val" else "")] = value
    splits, items = splits_of(folder, settings, None), Items()
    test = splits.get("test")
    for fraction in fractions:
        one = found[Training("trained", fraction)]
        for prefix, dataset, rows in (("val_", splits["val"], one.val_rows), ("", test, one.rows)):
            if dataset is not None and rows is not None:
                name = _named(_of_shapes(settings), fraction, settings, prefix)
                items[name] = (dataset.ids, _of_shape(settings, rows, dataset).tolist())
        kept = {side: found[Training(side, fraction)].rows for side in SIDES}
        if test is not None and all(rows is not None for rows in kept.values()):
            values = {side: _of_shape(settings, rows, test) for side, rows in kept.items()}  # type: ignore[arg-type]
            gains[_named(_of_shapes(settings), fraction, settings, "")] = gain(values)
    if test is not None and settings.task == "parts":
        ious = {side: found[Training(side)].rows[:, 0] for side in SIDES}  # type: ignore[index]
        listed["per_category"] = per_category(ious, test.labels, test.categories)
        shown = found[Training("trained")].shown
        if shown:
            drawn["gallery"] = lambda path: pictures.gallery(path, shown)
            names = test.manifest["part_names"]
            drawn["gallery.html"] = lambda path: write_page(path, "Parts of test shapes", as_shown(shown), names, up="y")
    if len(fractions) > 1:
        name = "balanced_accuracy"
        points = {side: [(f, metrics[side].get(_named(name, f, settings, ""), np.nan)) for f in fractions] for side in SIDES}
        drawn["label_fractions"] = lambda path: pictures.label_fractions(path, points, name)
    return metrics, tuple(_named(_of_shapes(settings), fraction, settings, "") for fraction in fractions), gains, items


def _scenes(
    settings: Any, found: Mapping[Training, Trained], folder: Place, listed: dict[str, Any], drawn: dict[str, Callable[[Path], None]]
) -> Numbers:
    """Semantic segmentation, a test row a block, and whole rooms by votes."""
    metrics = scenes.scene_metrics(found)
    if any(one.rooms is None for one in found.values()):
        return metrics, ("val_miou",), {}, {}
    classes = PreparedDataset(folder, None).manifest["part_names"]
    listed["per_class"] = scenes.per_class(found, classes)
    drawn["confusion"] = scenes.confusion_picture(found, classes)
    shown = tuple(room for key, one in found.items() if key.side == "trained" for room in one.shown)
    if shown:
        drawn["rooms"] = lambda path: pictures.rooms(path, shown, classes)
        drawn["rooms.html"] = lambda path: write_page(path, "Test rooms", as_shown(shown), classes, up="z")
    rooms = {side: scenes.room_mious([one.rooms for key, one in found.items() if key.side == side]) for side in SIDES}  # type: ignore[misc]
    for side, values in rooms.items():
        metrics[side][OF_A_ROOM] = float(values.mean())
    gains = {OF_A_ROOM: gain(rooms)} if len(rooms["random"]) > 1 else {}
    ids = [room for key in found if key.side == "trained" for room in rooms_of(splits_of(folder, settings, key.area)["test"].ids)]
    return metrics, ("miou", "voted_miou", OF_A_ROOM), gains, {OF_A_ROOM: (ids, rooms["trained"].tolist())}


def _of_shapes(settings: Any) -> str:
    """The metric that is a mean over shapes."""
    return "instance_miou" if settings.task == "parts" else "accuracy"


def _of_shape(settings: Any, rows_RM: NDArray[np.float64], test: PreparedDataset) -> NDArray[np.float64]:
    return rows_RM[:, 0] if settings.task == "parts" else (rows_RM[:, 0] == test.labels).astype(float)


def _named(metric: str, fraction: float, settings: Any, prefix: str) -> str:
    return f"{prefix}{metric}" + (f"_{100 * fraction:g}pct" if settings.task == "finetune" else "")


def _protocol(settings: Any, selects: str) -> dict[str, Any]:
    chosen = f"the epoch of the best {selects} on validation; its weights judged on test once"
    rule = RULES.get(settings.task)
    said = {"rule": rule} if rule else {}
    if settings.task == "scenes" and settings.channels == 9:
        said["untrained"] = "columns of the first layer for colour and place in the room"
    return {**settings.model_dump(mode="json", exclude={"task", "data", "points"}), "chosen_by": chosen, **said}
