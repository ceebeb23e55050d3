"""Every backbone pretrains by its name in the config: two steps, a checkpoint, its validation, and what is registered of it."""
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch

from jobs import packaging
from jobs.config import check, check_data
from jobs.data.prepared import PreparedDataset
from jobs.models.tables import BACKBONES
from jobs.prepare import prepare
from jobs.pretraining import checkpoint
from jobs.pretraining.loop import run
from jobs.pretraining.ranks import ALONE
from jobs.pretraining.validation import load_encoder, validate
from jobs.training.loop import Outside

POINTS = 256  # rpc takes no fewer


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    section = {"kind": "synthetic", "shapes": 80, "points": POINTS, "views": 1, "image_size": 32, "target": str(folder)}
    prepare(check_data(section, "test"), say=lambda line: None, parallel=False)
    return folder


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_a_backbone_pretrains_is_validated_and_packaged_by_its_name(name: str, data: Path, tmp_path: Path) -> None:
    shapes = len(PreparedDataset(data, "train"))
    values: dict[str, Any] = {
        "data": {"kind": "prepared", "target": str(data)},
        "pretrain": {
            "backbone": {"name": name, "k": 8},
            "image": {"tower": "resnet18", "size": 32},
            "epochs": 1,
            "batch": shapes // 2,
            "points": POINTS,
            "loader_workers": 0,
        },
        "evaluate": {"points": POINTS},
    }
    config = check(values, "test").resolved(tmp_path)
    rows: list[tuple[int, dict[str, float]]] = []
    written = tmp_path / "epoch-1"
    written.mkdir()
    outside = Outside(report=lambda metrics, write, validated: write(written), log=rows.extend, say=lambda line: None)
    training = run(config, PreparedDataset(data, "train"), ALONE, outside, None)
    assert [step for step, _ in rows] == [1, 2]
    assert all(np.isfinite(list(metrics.values())).all() for _, metrics in rows)
    assert 0 < validate(config, written, tmp_path, ALONE.device) <= 1

    packaging.save(tmp_path / "model", config.pretrain.backbone, checkpoint.encoder_weights(written))
    points_BNC = np.random.default_rng(0).standard_normal((2, POINTS, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = load_encoder(config.pretrain.backbone, written).eval()(torch.from_numpy(points_BNC)).numpy()
    found = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(points_BNC)
    assert found.shape == (2, training.model.encoder.feature_dim)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
