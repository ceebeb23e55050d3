import io

import numpy as np
from PIL import Image

from jobs.data.splat import DENSITY, azimuths, png, render

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


def test_the_point_nearer_the_camera_hides_the_other() -> None:
    points, normals = np.array([[0, 0, 0.5], [0, -0.0, -0.5]]), np.tile([0.0, 0, 1], (2, 1))
    sheet = np.stack([*np.meshgrid(np.linspace(-0.5, 0.5, 200), np.linspace(-0.5, 0.5, 200))], 2).reshape(-1, 2)
    front, back = (np.insert(sheet, 2, z, axis=1) for z in (points[0, 2], points[1, 2]))
    cloud, colours = np.concatenate([front, back]), np.repeat([RED, BLUE], len(sheet), axis=0)
    facing = np.repeat(normals, len(sheet), axis=0)
    seen, turned = (render(cloud, facing, colours, azimuth, 64)[32, 32] for azimuth in (0.0, np.pi))
    assert seen[0] > 50 and seen[2] == 0 and seen[3] == 255
    assert turned[2] > 50 and turned[0] == 0


def test_up_is_up_and_behind_everything_it_is_white_and_transparent() -> None:
    image = render(np.array([[0, 0.9, 0]]), np.array([[0.0, 1, 0]]), np.array([RED]), 0.0, 64)
    rows = np.flatnonzero(image[..., 3].any(1))
    assert len(rows) and rows.max() < 16
    assert (image[40:] == [255, 255, 255, 0]).all()


def test_the_azimuth_turns_the_camera_about_the_up_axis() -> None:
    point, normal = np.array([[0.8, 0, 0]]), np.array([[1.0, 0, 0]])
    columns = [np.flatnonzero(render(point, normal, np.array([RED]), azimuth, 64)[..., 3].any(0)).mean() for azimuth in azimuths(4, 0.0)]
    assert columns[0] > 50 and columns[2] < 14 and abs(columns[1] - 32) < 2 and abs(columns[3] - 32) < 2


def test_a_dense_surface_has_no_holes() -> None:
    rng = np.random.default_rng(0)
    ball = rng.standard_normal((DENSITY * 64**2, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    alpha = render(ball, ball, np.ones_like(ball), 0.3, 64)[..., 3]
    rows, columns = np.mgrid[:64, :64]
    assert (alpha[(rows - 31.5) ** 2 + (columns - 31.5) ** 2 < 26**2] == 255).all()


def test_png_keeps_every_pixel() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(image)))), image)
