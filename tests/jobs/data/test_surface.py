import numpy as np

from jobs.data.surface import areas, sample, to_unit_ball

SMALL, LARGE = [[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[5, 0, 0], [8, 0, 0], [5, 3, 0]]  # areas 0.5 and 4.5
FLAT = [[0, 0, 0], [1, 1, 1], [2, 2, 2]]
TRIANGLES = np.array([SMALL, FLAT, LARGE], float)


def test_areas_are_half_base_times_height() -> None:
    np.testing.assert_allclose(areas(TRIANGLES), [0.5, 0, 4.5])


def test_a_triangle_gets_points_by_its_area_and_a_degenerate_one_none() -> None:
    points, normals, face = sample(TRIANGLES, 20_000, np.random.default_rng(0))
    share = np.bincount(face, minlength=3) / 20_000
    np.testing.assert_allclose(share, [0.1, 0, 0.9], atol=0.01)
    np.testing.assert_allclose(np.abs(normals), np.tile([0, 0, 1], (20_000, 1)), atol=1e-12)
    assert ((points[:, 0] >= 5) == (face == 2)).all()


def test_points_are_uniform_within_a_triangle() -> None:
    points, _, _ = sample(np.array([SMALL], float), 50_000, np.random.default_rng(1))
    assert (points[:, :2].sum(1) <= 1 + 1e-12).all() and (points >= 0).all()
    np.testing.assert_allclose(points.mean(0), [1 / 3, 1 / 3, 0], atol=0.01)
    np.testing.assert_allclose((points[:, 0] < 0.5).mean(), 0.75, atol=0.01)  # the strip x < 1/2 holds three quarters of the area


def test_the_unit_ball_is_reached_and_proportions_stay() -> None:
    ball = to_unit_ball(TRIANGLES * 40 + 9)
    np.testing.assert_allclose(np.linalg.norm(ball.reshape(-1, 3), axis=1).max(), 1)
    np.testing.assert_allclose(areas(ball)[2] / areas(ball)[0], 9)
