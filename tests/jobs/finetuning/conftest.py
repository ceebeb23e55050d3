"""Rooms for every test of supervised training."""
from pathlib import Path

import pytest

from jobs.config import check_data
from jobs.prepare import prepare


@pytest.fixture(scope="package")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rooms of each of six areas, 160 points a block."""
    folder = tmp_path_factory.mktemp("rooms") / "data"
    section = {"kind": "synthetic-rooms", "rooms": 12, "points": 160, "stride": 1.0, "target": str(folder)}
    prepare(check_data(section, "test"), say=lambda line: None, parallel=False)
    return folder
