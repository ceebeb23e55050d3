"""What would lose a training is found before it starts."""
import json
import threading
import time
from pathlib import Path

import pytest
import trimesh

from jobs.config import Pipeline, check, check_data
from jobs.data.prepared import PreparedDataset
from jobs.prepare import prepare
from jobs.pretraining.checkpoint import MOST_WAITING, VALIDATED, validation_over, wait_for_validations
from jobs.pretraining.shapes import check_points, training_shapes


def prepared(folder: Path, **settings: object) -> Path:
    synthetic = {"kind": "synthetic", "shapes": 32, "points": 32, "views": 1, "image_size": 32}
    section = {**({} if settings else synthetic), "target": str(folder), **settings}
    prepare(check_data(section, "test"), say=lambda line: None, parallel=False)
    return folder


def config(data: Path, probe: Path | None = None, points: int = 16, evaluated: int = 16) -> Pipeline:
    values = {
        "data": {"kind": "prepared", "target": str(data)},
        "pretrain": {"backbone": {"name": "pointnet"}, "points": points},
        "evaluate": {"points": evaluated},
    }
    if probe:
        values["probe"] = {"kind": "prepared", "target": str(probe)}
    return check(values, "test")


@pytest.mark.parametrize(("points", "evaluated", "said"), [(64, 16, "pretrain"), (16, 64, "evaluate")])
def test_more_points_than_are_stored_is_refused(tmp_path: Path, points: int, evaluated: int, said: str) -> None:
    with pytest.raises(ValueError, match=rf"{said}\.points is 64.*32"):
        check_points(config(prepared(tmp_path / "d"), points=points, evaluated=evaluated))


def test_pretraining_never_sees_the_held_out_shapes_of_the_probe(tmp_path: Path) -> None:
    """The same meshes, all for training in one folder, split 80/10/10 in the other, stored with other numbers of points."""
    for category, height in (("flat", 0.1), ("tall", 3.0)):
        for number in range(10):
            box = trimesh.creation.box((1, height, 1 + number / 10))
            for folder in (tmp_path / "all" / category / "train", tmp_path / "split" / category):
                folder.mkdir(parents=True, exist_ok=True)
                box.export(folder / f"{number}.off")
    data = prepared(tmp_path / "d", kind="meshes", source=str(tmp_path / "all"), views=0, points=32)
    probe = prepared(tmp_path / "p", kind="meshes", source=str(tmp_path / "split"), views=0, points=48)
    shapes = PreparedDataset(probe, None)
    held_out = {Path(i).stem + i[:4] for i, split in zip(shapes.ids, shapes.splits, strict=True) if split != "train"}
    everything, seen = PreparedDataset(data, "train"), training_shapes(config(data, probe))
    assert len(held_out) == 4
    assert held_out & {Path(i).stem + i[:4] for i in everything.ids}  # without the guard they would be trained on
    assert not held_out & {Path(i).stem + i[:4] for i in seen.ids}
    assert len(seen) == 16  # of 20: the guard loses no more than what is held out


def test_training_waits_while_too_many_checkpoints_wait_for_validation(tmp_path: Path) -> None:
    said: list[str] = []
    wait_for_validations(tmp_path, list(range(1, MOST_WAITING)), said.append)  # fewer than may wait: at once
    asked = list(range(1, MOST_WAITING + 1))
    waiting = threading.Thread(target=wait_for_validations, args=(tmp_path, asked, said.append))
    waiting.start()
    time.sleep(0.5)
    assert waiting.is_alive()
    validation_over(tmp_path, 1)
    waiting.join(timeout=5)
    assert not waiting.is_alive()
    assert [line.partition(":")[0] for line in said] == ["waiting for the validation of epoch 1"]
    assert json.loads((tmp_path / VALIDATED).read_text()) == {"epoch": 1}
