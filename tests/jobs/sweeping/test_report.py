"""A report says what the confirmation shows, no more: on findings made by hand."""
from pathlib import Path
from typing import Any

import pytest

from jobs.sweeping import pictures, report

RUNS = {
    "untrained": [0.50, 0.52, 0.51, 0.49, 0.50],
    "static": [0.70, 0.72, 0.69, 0.71, 0.73],
    "adacrossnet": [0.71, 0.71, 0.70, 0.70, 0.74],
    "famo": [0.78, 0.79, 0.77, 0.78, 0.81],
}


def findings(**changes: Any) -> dict[str, Any]:
    confirm = {
        name: [
            {"seed": 1000 + seed, "seconds": 60.0, "c": 1.0} | {split: {"balanced_accuracy": value} for split in ("val", "test")}
            for seed, value in enumerate(values)
        ]
        for name, values in RUNS.items()
    }
    trial = {"strategy": "famo", "seed": 0, "error": None, "seconds": 9.0}
    search = {
        "static": [
            {**trial, "key": "a", "values": {"cross": 0.5}, "curve": [(1, 0.5), (2, 0.6)], "outcome": "done", "best": 0.6, "epochs": 2},
            {**trial, "key": "b", "values": {"cross": 9.0}, "curve": [(1, 0.4)], "outcome": "stopped early", "best": 0.4, "epochs": 1},
        ],
        "adacrossnet": [
            {**trial, "key": "c", "values": {"alpha": 3.0, "cadence": "epoch"}, "curve": [(1, 0.5), (2, 0.6)], "outcome": "done",
             "best": 0.6, "epochs": 2},
            {**trial, "key": "d", "values": {"alpha": 0.1, "cadence": "step"}, "curve": [], "outcome": "failed", "best": None, "epochs": 0},
        ],
        "famo": [{**trial, "key": "e", "values": {}, "curve": [(1, 0.5), (2, 0.7)], "outcome": "done", "best": 0.7, "epochs": 2}],
    }  # fmt: skip
    return {
        "name": "by-hand", "demonstration": False, "confidence": 0.95, "normalise": True, "backbone": "dgcnn", "epochs": 2,
        "dataset": {"name": "made", "digest": "0123"}, "shapes": {"train": 10, "val": 5, "test": 7}, "scheduler": "asha",
        "method": "random", "search_epochs": {"spent": 7, "whole": 10}, "search": search, "confirm": confirm, "seconds": 120.0,
        "best": {"static": {"cross": 0.5}, "adacrossnet": {"alpha": 3.0, "cadence": "epoch"}, "famo": {}, "untrained": {}}, **changes,
    }  # fmt: skip


def test_the_verdict_tells_better_from_within_noise() -> None:
    said = report.verdict(findings())
    assert said == (
        "Against tuned static weights, on 7 shapes and 5 seeds: famo is better; adacrossnet is within noise of it."
    )


def test_the_markdown_holds_the_random_encoder_the_baseline_and_each_difference() -> None:
    text = report.markdown(findings())
    assert "| untrained (random weights) | 0.504 ± 0.011 |" in text
    assert "| static (baseline) | 0.710 ± 0.016 |" in text
    assert "| adacrossnet | +0.002 |" in text
    assert "7 epochs of the 10 that they would take to their ends (70%)" in text
    assert "| adacrossnet | alpha 3, cadence epoch | 2 |" in text
    assert "demonstration" not in text
    assert "A demonstration" in report.markdown(findings(demonstration=True))


def test_the_page_needs_no_other_file_and_escapes_names(tmp_path: Path) -> None:
    drawn = {"curves": pictures.curves, "objective": pictures.objective, "parallel": pictures.parallel, "confirmed": pictures.confirmed}
    images = {name: tmp_path / f"{name}.png" for name in drawn}
    for name, draw in drawn.items():
        draw(images[name], findings())
        assert images[name].read_bytes().startswith(b"\x89PNG")
    page = report.html(findings(name="<script>"), images)
    assert page.count("data:image/png;base64,") == 4
    assert "src=\"http" not in page and "<script>" not in page
    assert "<td>static (baseline)</td><td>0.710 ± 0.016</td>" in page


@pytest.mark.parametrize("normalise", [True, False])
def test_it_says_whether_scale_is_kept_apart_from_balance(normalise: bool) -> None:
    said = " ".join(report.about(findings(normalise=normalise)))
    assert ("scaled to a constant sum" in said) == normalise
    assert ("hold the scale of the loss as well" in said) != normalise
