"""The published models' names and answers, from the folder that $ADACROSSNET_PUBLISHED names (weights.py, names.json, golden.npz)."""
import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor


def published(model: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State dict and reference input and answers of `model`; skips the test where the folder is not there."""
    folder = os.environ.get("ADACROSSNET_PUBLISHED")
    if not folder:
        pytest.skip("ADACROSSNET_PUBLISHED is unset: no published answers to compare with")
    spec = importlib.util.spec_from_file_location("published_weights", Path(folder) / "weights.py")
    assert spec is not None and spec.loader is not None
    weights = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(weights)
    with np.load(Path(folder) / "golden.npz") as golden:
        answers = {name.removeprefix(f"{model}/"): golden[name] for name in golden.files if name.startswith(f"{model}/")}
    return weights.state_dict(model), answers
