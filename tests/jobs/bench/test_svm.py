"""The SVM's benchmark on features that are given."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jobs.bench.svm import measure, read_features


@pytest.fixture
def features(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=200)
    rows = rng.normal(size=(4, 16))[labels] + 0.1 * rng.normal(size=(200, 16))
    np.savez(tmp_path / "features.npz", features=rows.astype(np.float32), labels=labels)
    return tmp_path / "features.npz"


def test_given_features_are_measured_with_one_thread_and_with_several(features: Path) -> None:
    said: list[str] = []
    result, *more = measure(1, said.append, (features, 0.75))
    assert (result["features"], result["shapes"], result["target"]) == ("features.npz", 150, None)
    assert result["agreement"] == result["accuracy"] == 1
    assert len(result["ratios"]) == 1
    assert [line.split(", ")[2].split(":")[0] for line in said] == ["fast", "svc"] * (1 + len(more)), "sides in turn"
    assert [one["agreement"] for one in more] == [1.0] * len(more), "also with several threads"


def test_the_first_share_is_for_training(features: Path) -> None:
    features_ND, labels_N, train = read_features(features, 0.8)
    assert features_ND.shape == (200, 16) and features_ND.dtype == np.float32 and train == 160
    assert (labels_N == np.load(features)["labels"]).all()


@pytest.mark.parametrize(
    ("arrays", "share", "said"),
    [
        ({"features": np.zeros((4, 2))}, 0.5, r"cannot be read \(KeyError.*labels.*numpy.savez"),
        ({"features": np.zeros((4, 2)), "labels": np.zeros(3, int)}, 0.5, r"labels int64 \[3\]: write it with numpy.savez"),
        ({"features": np.zeros((4, 2), int), "labels": np.zeros(4, int)}, 0.5, r"holds features int64 \[4, 2\]"),
        ({"features": np.full((4, 2), np.nan), "labels": np.arange(4)}, 0.5, "not finite: leave out"),
        ({"features": np.zeros((4, 2)), "labels": np.array([0, 0, 1, 1])}, 0.5, "two categories and the test a row; shuffle"),
        ({"features": np.zeros((4, 2)), "labels": np.arange(4)}, 1.0, "--train-share 1 of the 4 rows"),
    ],
)
def test_features_that_cannot_be_measured_are_refused(arrays: dict[str, np.ndarray], share: float, said: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "features.npz", **arrays)
    with pytest.raises(ValueError, match=said):
        read_features(tmp_path / "features.npz", share)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04"])
def test_a_file_that_is_no_npz_says_how_to_write_one(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "features.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"features.npz cannot be read .*: write it with numpy.savez\(FILE, features="):
        read_features(tmp_path / "features.npz", 0.8)
