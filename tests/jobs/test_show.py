import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from jobs.config.datasets import Synthetic
from jobs.prepare import prepare
from jobs.show import _spread, contact_sheet, page

ROOT = Path(__file__).resolve().parents[2]


def small(folder: Path) -> Path:
    cfg = Synthetic(kind="synthetic", shapes=16, points=64, views=2, image_size=32, target=folder)
    prepare(cfg, say=lambda line: None, parallel=False)
    return folder


def test_the_sheet_shows_clouds_and_views(tmp_path: Path) -> None:
    folder = small(tmp_path / "data")
    for shapes in (4, 12):
        contact_sheet(folder, tmp_path / f"{shapes}.png", shapes)
    four, twelve = (np.asarray(Image.open(tmp_path / f"{shapes}.png").convert("RGB")) for shapes in (4, 12))
    assert twelve.shape[0] > 2 * four.shape[0] and twelve.shape[1] == four.shape[1]
    assert (four != 255).any(2).mean() > 0.05


def test_a_page_holds_every_cloud_and_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    page(small(tmp_path / "data"), tmp_path / "clouds.html", 4)
    text = (tmp_path / "clouds.html").read_text()
    assert text.count('"mode":"markers"') == 4 and "<script src=" not in text
    assert all(f"{name}: " in text for name in ("airplane", "bed", "bench", "bottle")), "of every shape"
    assert "(train)" in text and "seat" in text, "where they belong, and names of parts"


def test_shapes_are_taken_from_the_classes_in_turn() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 2])
    assert _spread(labels, 3) == [0, 4, 6]
    assert _spread(labels, 5) == [0, 1, 4, 5, 6]
    assert _spread(labels, 99) == list(range(7))


def test_a_folder_as_the_picture_and_more_shapes_than_a_sheet_holds_are_refused(tmp_path: Path) -> None:
    for arguments, message in (
        ((str(tmp_path),), "is a folder: name a PNG or HTML file"),
        ((str(tmp_path / "no/a.png"),), "is in no folder"),
        ((str(tmp_path / "a.png"), "--shapes", "121"), "a sheet shows 1 to 120"),
    ):
        command = [sys.executable, "-m", "jobs.show", str(tmp_path), *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 1 and message in done.stderr


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.show", str(tmp_path / "nowhere"), str(tmp_path / "a.png")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stderr.startswith("show: error: ") and len(done.stderr.splitlines()) == 1
