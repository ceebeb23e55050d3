import numpy as np
import pytest

from jobs.data.items import Reject, checked_points, content_of

CLOUD = np.random.default_rng(0).random((40, 3)).astype(np.float32)


def test_content_ignores_the_order_of_points_and_nothing_else() -> None:
    assert content_of(CLOUD) == content_of(CLOUD[::-1]) == content_of(CLOUD.astype(np.float64))
    assert content_of(CLOUD) != content_of(CLOUD + 1e-6)
    assert content_of(CLOUD) != content_of(CLOUD[:39])
    assert content_of(np.array([[0.0, 1.0]])) == content_of(np.array([[-0.0, 1.0]]))


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (CLOUD[:0], "holds 0 points"),
        (CLOUD[:15], "holds 15 points; a shape needs at least 16"),
        (np.where(np.arange(40)[:, None] == 3, np.nan, CLOUD), "1 of 40 points are not finite"),
        (np.ones((40, 3)), "all points are in one place"),
        (CLOUD.astype(np.float64) * 1e60, "too large for float32"),
    ],
)
def test_a_cloud_that_is_no_shape_is_rejected(points: np.ndarray, reason: str) -> None:
    with pytest.raises(Reject, match=reason):
        checked_points(points.astype(np.float64))
