from pathlib import Path

import numpy as np

from jobs.config.datasets import SyntheticRooms
from jobs.data.draws import generator
from jobs.data.prepared import PreparedDataset
from jobs.data.rooms import CLASSES
from jobs.data.synthetic_rooms import list_items, room
from jobs.prepare import prepare


def test_rooms_are_furnished_and_every_class_occurs() -> None:
    seen: set[int] = set()
    for number in range(30):
        xyz, rgb, classes = room(generator("test", number))
        assert np.isfinite(xyz).all() and rgb.min() >= 0 and rgb.max() <= 255
        size = np.ptp(xyz, axis=0)
        assert 2.4 < size[0] < 4.8 and 2.4 < size[1] < 4.8 and 2.3 < size[2] < 3.2, "metres, z up"
        heights = {name: xyz[classes == CLASSES.index(name), 2].mean() for name in ("ceiling", "floor")}
        assert heights["ceiling"] > heights["floor"] + 2.3
        seen |= set(classes.tolist())
    assert seen == set(range(len(CLASSES)))


def test_they_are_prepared_as_blocks_of_six_areas_with_one_held_out(tmp_path: Path) -> None:
    cfg = SyntheticRooms(kind="synthetic-rooms", rooms=12, points=128, stride=1.0, test_area=2, target=tmp_path / "a")
    prepare(cfg, say=lambda line: None, parallel=False)
    dataset = PreparedDataset(tmp_path / "a", None)
    assert dataset.manifest["channels"] == 9 and dataset.categories == [f"Area_{number}" for number in range(1, 7)]
    assert {item.split for item in list_items(cfg)} == {"train", "val", "test"}
    for row, split in enumerate(dataset.splits):
        assert (split == "test") == dataset.ids[row].startswith("Area_2/")
        points = dataset.points(row)
        assert points.shape == (128, 9) and np.abs(points[:, :2]).max() <= 0.5 + 1e-6
        assert points[:, 3:].min() >= 0 and points[:, 3:].max() <= 1
    again = cfg.model_copy(update={"target": tmp_path / "b"})
    assert prepare(again, say=lambda line: None, parallel=False)["digest"] == dataset.manifest["digest"]
