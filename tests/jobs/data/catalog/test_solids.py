import numpy as np
import pytest

from jobs.data.catalog import solids
from jobs.data.surface import areas


@pytest.mark.parametrize(
    ("solid", "area", "tolerance"),
    [
        (solids.box((1, 2, 3), (5, 5, 5)), 22, 1e-12),
        (solids.cylinder(1, 0, 2), 2 * np.pi + 4 * np.pi, 0.02),
        (solids.cylinder(1, 0, 1, top=0), np.pi + np.pi * np.sqrt(2), 0.02),
        (solids.ellipsoid((2, 2, 2), (0, 0, 0)), 4 * np.pi, 0.03),
        (solids.plate([(0, 0), (2, 0), (2, 1), (0, 1)], 0, 0.5), 7, 1e-12),
        (solids.tube([(0, 0, 0), (0, 3, 0)], 0.5, sides=64), 3 * np.pi, 0.01),
        (solids.mirrored(solids.box((1, 1, 1), (2, 0, 0)), 0), 12, 1e-12),
    ],
)
def test_a_solids_surface_is_the_textbooks(solid: solids.Triangles, area: float, tolerance: float) -> None:
    np.testing.assert_allclose(areas(solid).sum(), area, rtol=tolerance)


def test_a_box_is_where_it_was_asked_for() -> None:
    corners = solids.box((1, 2, 3), (10, 20, 30)).reshape(-1, 3)
    assert corners.min(0).tolist() == [9.5, 19, 28.5] and corners.max(0).tolist() == [10.5, 21, 31.5]


def test_turning_about_a_place_leaves_that_place() -> None:
    corner = np.array([[[1.0, 2, 3], [2, 2, 3], [1, 2, 4]]])
    turned = solids.turned(corner, 1, np.pi / 2, about=(1, 2, 3))
    np.testing.assert_allclose(turned[0, 0], [1, 2, 3], atol=1e-12)
    np.testing.assert_allclose(np.abs(turned[0, 1] - turned[0, 0]), [0, 0, 1], atol=1e-12)


def test_a_tube_keeps_its_radius_round_a_bend() -> None:
    path = solids.arc((1.0, 1.0), 0, np.pi, (0, 0, 0))
    corners = solids.tube(path, 0.1).reshape(-1, 3)
    away = np.abs(np.linalg.norm(corners[:, :2], axis=1) - 1) ** 2 + corners[:, 2] ** 2
    np.testing.assert_allclose(np.sqrt(away), 0.1, atol=0.01)
