"""The evaluation's SVM against `sklearn.svm.SVC(kernel="linear")`: fit and predict at ModelNet40's size, on features of our own encoder.

`python -m jobs.bench svm --features FILE.npz --train-share 0.8` measures on real features instead: arrays `features` float32 [N, D] and
`labels` int64 [N], of which the first share is for training. From the parquet of `adacrossnet embed` on a prepared dataset:

    table = pyarrow.parquet.read_table("features.parquet")
    tested = table["split"].to_numpy() == "test"
    order = np.argsort(tested, kind="stable")  # the rows for training first; their share: 1 - tested.mean()
    labels = np.unique(table["category"].to_numpy(), return_inverse=True)[1]
    np.savez("FILE.npz", features=np.stack(table["feature"].to_numpy())[order], labels=labels[order])

`python -m jobs.bench.svm features|fast|svc SETTINGS` runs one step in this process and prints it as JSON. Imports torch and numpy alone at
its head. B clouds, N points or rows, D features.
"""
from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jobs.bench.fresh import alternate, compared, memory_mb, run_fresh

MODULE = "jobs.bench.svm"
SIDES = ("fast", "svc")
TRAIN, TEST, CLASSES = 9840, 2468, 40  # ModelNet40's
POINTS, K, CALIBRATION = 128, 10, 256  # few points: encoding takes no longer than the SVM; clouds that set BatchNorm's statistics
MOST_THREADS = 8
C, NEXT_C = 0.01, 0.1  # the published C; one more of the same features


def measure(rounds: int, say: Callable[[str], None], given: tuple[Path, float] | None = None) -> list[dict[str, Any]]:
    """Seconds and added memory of both sides, SVC over ours, and the share of test rows on which they agree: with one thread by the
    process's own time, and by the clock with as many as there are cores to use (SVC itself has one alone).

    `given`: a file of features and the share of its rows for training, else features are made up. ValueError as `read_features`.
    """
    import_module("jobs.evaluation.svm")  # what both sides import: known to be there before features are made
    results = []
    with tempfile.TemporaryDirectory() as folder:
        settings: dict[str, Any] = {"folder": folder, "shapes": TRAIN, "threads": 1}
        if given is None:
            say(f"svm: features of {TRAIN + TEST} made-up shapes: {run_fresh(MODULE, 'features', settings)['seconds']:.0f} s")
        else:
            features_ND, labels_N, settings["shapes"] = read_features(*given)
            np.save(Path(folder) / "features.npy", features_ND)
            np.save(Path(folder) / "labels.npy", labels_N)
        for threads in sorted({1, min(MOST_THREADS, len(os.sched_getaffinity(0)))}):
            found = alternate(MODULE, SIDES, {**settings, "threads": threads}, rounds, say)
            fast, svc = (np.load(Path(folder) / f"{side}.npy") for side in SIDES)
            results.append(_result(found, fast, svc, given, settings["shapes"], threads))
    return results


def _result(
    found: dict[str, list[dict[str, Any]]], fast: np.ndarray, svc: np.ndarray, given: tuple[Path, float] | None, shapes: int, threads: int
) -> dict[str, Any]:
    return {
        "benchmark": "svm",
        "features": "made up" if given is None else given[0].name,
        "shapes": shapes,
        "threads": threads,
        **compared({side: [one["seconds"] for one in found[side]] for side in SIDES}),
        "unit": "s",
        "target": "at least 5" if given is None else None,  # asked at ModelNet40's size alone
        "next_c_s": statistics.median(one["next_c_s"] for one in found["fast"]),  # of a second C, the inner products being there
        "added_mb": {side: statistics.median(one["added_mb"] for one in found[side]) for side in SIDES},
        "agreement": float((fast == svc).mean()),
        "accuracy": found["svc"][0]["accuracy"],
    }


def read_features(path: Path, share: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Features [N, D] float32, labels [N] and how many of the rows are for training. ValueError when SVMs cannot be measured on them."""
    where, way = f"--features {path}", "write it with numpy.savez(FILE, features=float32 [N, D], labels=int64 [N])"
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            features_ND, labels_N = arrays["features"], arrays["labels"]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{where} cannot be read ({type(error).__name__}: {error}): {way}") from None
    if features_ND.ndim != 2 or features_ND.dtype.kind != "f" or labels_N.shape != features_ND.shape[:1] or labels_N.dtype.kind not in "iu":
        held = f"features {features_ND.dtype} {list(features_ND.shape)} and labels {labels_N.dtype} {list(labels_N.shape)}"
        raise ValueError(f"{where} holds {held}: {way}")
    if not np.isfinite(features_ND).all():
        raise ValueError(f"{where} holds features that are not finite: leave out those rows")
    train = round(share * len(labels_N))
    if not 0 < train < len(labels_N) or len(np.unique(labels_N[:train])) < 2:
        raise ValueError(
            f"--train-share {share:g} of the {len(labels_N)} rows of {path}: training needs two categories and the test a row; shuffle the "
            "rows, or choose another share between 0 and 1"
        )
    return features_ND.astype(np.float32), labels_N, train


def _measure_side(side: str, settings: dict[str, Any]) -> dict[str, float]:
    from sklearn.svm import SVC

    from jobs.evaluation.svm import OneVsOne, Split

    folder, first = Path(settings["folder"]), settings["shapes"]
    features, labels = np.load(folder / "features.npy"), np.load(folder / "labels.npy")
    train, test = Split(features[:first], labels[:first]), Split(features[first:], labels[first:])
    # With one thread the process's own time: what others take of the core is not counted.
    clock = time.process_time if settings["threads"] == 1 else time.perf_counter
    before, start = memory_mb("VmRSS"), clock()
    result: dict[str, float] = {}
    if side == "svc":
        predicted = SVC(C=C, kernel="linear").fit(train.features, train.labels).predict(test.features)
    else:
        machine = OneVsOne(train, threads=settings["threads"])
        predicted = machine.predict(test.features, [C])[C]
    result["seconds"] = clock() - start
    result["added_mb"] = memory_mb("VmHWM") - before
    if side == "fast":
        start = clock()
        machine.predict(test.features, [NEXT_C])
        result["next_c_s"] = clock() - start
    np.save(folder / f"{side}.npy", predicted)
    return {**result, "accuracy": float((predicted == test.labels).mean())}


def _make_features(settings: dict[str, Any]) -> dict[str, float]:
    """Writes features [12,308, 2,048] float32 of a DGCNN with random weights, and labels: classes of unequal size, in no order."""
    from jobs.models.batchnorm import BatchNorm
    from jobs.models.dgcnn import DGCNN

    start = time.process_time()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    labels = rng.choice(CLASSES, TRAIN + TEST, p=rng.dirichlet(np.full(CLASSES, 4.0)))
    points_BNC = torch.from_numpy(_clouds(labels, rng))
    encoder = DGCNN(K)
    for module in encoder.modules():
        if isinstance(module, BatchNorm):
            module.momentum = 1.0  # running statistics become those of the one batch seen in training
    with torch.no_grad():
        encoder.train()(points_BNC[:CALIBRATION])
        features = torch.cat([encoder.eval()(clouds) for clouds in points_BNC.split(64)])
    np.save(Path(settings["folder"]) / "features.npy", features.numpy())
    np.save(Path(settings["folder"]) / "labels.npy", labels)
    return {"seconds": time.process_time() - start}


def _clouds(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[B, N, 3] float32: tapered superellipsoids (Barr 1981), a class a family of exponents, axes and taper; turned about y, with noise."""
    kinds = np.random.default_rng(1)
    lows, highs = [0.2, 0.2, 0.3, 0.3, 0.3, -0.6], [1.8, 1.8, 1.0, 1.0, 1.0, 0.6]
    families = kinds.uniform(lows, highs, (CLASSES, 6))
    own = families[labels] * np.exp(0.12 * rng.standard_normal((len(labels), 6)))
    north, east, *axes, taper = own.T[:, :, None]
    around = rng.standard_normal((len(labels), POINTS, 3))
    around /= np.linalg.norm(around, axis=2, keepdims=True)
    latitude, longitude = np.arcsin(around[:, :, 1]), np.arctan2(around[:, :, 2], around[:, :, 0])
    ring, y = _power(np.cos(latitude), north), axes[1] * _power(np.sin(latitude), north)
    ring *= 1 + taper * y
    x, z = axes[0] * ring * _power(np.cos(longitude), east), axes[2] * ring * _power(np.sin(longitude), east)
    turn = rng.uniform(0, 2 * np.pi, (len(labels), 1))
    turned = np.stack([np.cos(turn) * x + np.sin(turn) * z, y, np.cos(turn) * z - np.sin(turn) * x], 2)
    noisy = turned + 0.02 * rng.standard_normal(turned.shape)
    centred = noisy - noisy.mean(axis=1, keepdims=True)
    clouds: np.ndarray = (centred / np.linalg.norm(centred, axis=2).max(axis=1)[:, None, None]).astype(np.float32)
    return clouds


def _power(values: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    powers: np.ndarray = np.sign(values) * np.abs(values) ** exponents
    return powers


if __name__ == "__main__":
    name, values = sys.argv[1], json.loads(sys.argv[2])
    print(json.dumps(_make_features(values) if name == "features" else _measure_side(name, values)))
