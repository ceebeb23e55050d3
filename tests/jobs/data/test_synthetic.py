import itertools

import numpy as np
import pytest

from jobs.config.datasets import Synthetic
from jobs.data import synthetic
from jobs.data.catalog.tables import OBJECTS, PART_NAMES, PARTS

CFG = Synthetic(kind="synthetic", shapes=160, points=256, views=1, image_size=32)


def test_there_are_at_least_twelve_categories_with_shapes_spread_evenly() -> None:
    items = synthetic.list_items(CFG.model_copy(update={"shapes": 2 * len(OBJECTS) + 3}))
    counts = [sum(item.category == name for item in items) for name in OBJECTS]
    assert len(OBJECTS) >= 12 and sorted(counts) == [2] * (len(OBJECTS) - 3) + [3] * 3
    assert [item.id for item in items] == sorted({item.id for item in items})


@pytest.mark.parametrize("category", OBJECTS)
def test_every_object_is_whole_and_every_part_of_its_category_occurs(category: str) -> None:
    seen: set[str] = set()
    items = (item for item in synthetic.list_items(CFG.model_copy(update={"shapes": 60 * len(OBJECTS)})) if item.category == category)
    for item in itertools.islice(items, 60):
        triangles, parts = synthetic._object(category, np.random.default_rng(int(item.id[-5:])))
        assert np.isfinite(triangles).all() and len(triangles) == len(parts)
        seen |= {PART_NAMES[part] for part in np.unique(parts)}
    assert seen == {f"{category}/{part}" for part in PARTS[category]}


@pytest.mark.parametrize("category", OBJECTS)
def test_a_shape_fills_the_unit_ball_and_varies_within_its_class(category: str) -> None:
    items = [item for item in synthetic.list_items(CFG) if item.category == category][:4]
    shapes = [synthetic.read(item, CFG) for item in items]
    assert len({shape.content for shape in shapes}) == 4
    for shape in shapes:
        radius = np.linalg.norm(shape.points, axis=1).max()
        assert 0.6 < radius < 1 + 6 * synthetic.NOISE[1] and shape.points.dtype == np.float32
        assert shape.parts is not None and len(shape.parts) == 256 and len(shape.views) == 1


def test_a_shape_depends_on_its_seed_and_id_alone() -> None:
    item = synthetic.list_items(CFG)[17]
    one, again = synthetic.read(item, CFG), synthetic.read(item, CFG)
    assert np.array_equal(one.points, again.points) and one.views == again.views and one.content == again.content
    assert synthetic.read(item, CFG.model_copy(update={"seed": 1})).content != one.content


def test_shapes_are_turned_about_the_up_axis() -> None:
    cars = [synthetic.read(item, CFG).points for item in synthetic.list_items(CFG) if item.category == "car"]
    longest = [np.linalg.svd((cloud - cloud.mean(0))[:, [0, 2]], full_matrices=False)[2][0] for cloud in cars]
    angles = np.rad2deg([np.arctan2(axis[1], axis[0]) % np.pi for axis in longest])
    assert np.ptp(angles) > 90


def test_clouds_are_denser_on_one_side_by_an_amount_that_differs() -> None:
    square = np.array([[[-1, 0, -1], [1, 0, -1], [1, 0, 1]], [[-1, 0, -1], [1, 0, 1], [-1, 0, 1]]], float)  # area centre at the origin
    off = [np.linalg.norm(synthetic._scanned(square, 500, np.random.default_rng(seed))[0].mean(0)) for seed in range(40)]
    assert min(off) < 0.1 and max(off) > 0.4


def test_the_content_is_the_objects_whatever_is_sampled_and_rendered_of_it() -> None:
    items = synthetic.list_items(CFG)[:20]
    other = CFG.model_copy(update={"points": 100, "views": 2, "image_size": 16})
    contents = [synthetic.read(item, CFG).content for item in items]
    assert contents == [synthetic.read(item, other).content for item in items]
    assert len(set(contents)) == 20
