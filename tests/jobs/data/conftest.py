"""A small prepared dataset for the tests of reading, made once."""

from pathlib import Path

import pytest
import torch

from jobs.config.datasets import Synthetic
from jobs.prepare import prepare


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 shapes of 16 categories, 128 points, 2 views of 32 pixels, 10 rows a shard."""
    folder = tmp_path_factory.mktemp("small")
    cfg = Synthetic(kind="synthetic", shapes=48, points=128, views=2, image_size=32, shard_rows=10, target=folder)
    prepare(cfg, say=lambda line: None, parallel=False)
    return folder
