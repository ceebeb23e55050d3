"""Plain progress lines, the results table, and commands as they can be typed."""
from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console

from service import display
from service.report import print_summary
from service.tables import FAILED, QUEUED, RUNNING, Pipeline, Stage
from service.troubles import print_orders
from service.typed import typed


def test_without_a_terminal_a_line_comes_at_least_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(display.time, "monotonic", lambda: now)
    console = Console(file=io.StringIO(), width=120)
    row = Pipeline(id="p", state=RUNNING, stages=[Stage(name="pretrain", state=RUNNING, position=0)])
    printed: list[float] = []
    with display.Display(console) as shown:
        for second in range(100):
            now = 1000.0 + second
            before = len(_text(console))
            shown.show(row, {} if second < 30 else {"pretrain": f"epoch 1/9 step {second // 7 if second < 70 else 10}, 9 s left"})
            printed += [second] * (len(_text(console)) > before)
    assert max(later - earlier for earlier, later in itertools.pairwise(printed)) <= 10
    assert len(printed) < 20
    assert _text(console).count("step 10, 9 s left") >= 3


def test_without_a_terminal_what_a_pipeline_waits_for_is_said_once() -> None:
    console = Console(file=io.StringIO(), width=120)
    row = Pipeline(id="p", state=QUEUED, message="waits: 2 pipelines run, the limit", stages=[])
    with display.Display(console) as shown:
        for message in (row.message, row.message, None, row.message, "the cluster does not answer"):
            row.message = message
            shown.show(row, {})
        row.state, row.message = FAILED, "shown by itself"
        shown.show(row, {})
    said = [line.partition("] ")[2] for line in _text(console).splitlines()]
    waits = "pipeline waits: 2 pipelines run, the limit"
    assert said == [waits, waits, "pipeline the cluster does not answer"]


def test_the_published_c_and_the_uncalibrated_encoder_have_rows_where_they_were_judged() -> None:
    one = {"accuracy": 0.5, "balanced_accuracy": 0.25}
    scores = {
        "trained": {"c": 1.0, "val": one, "test": one, "fixed_c": {"c": 0.01, "test": one}},
        "random": {"c": 10.0, "val": one, "test": one}, "random_uncalibrated": {"c": 100.0, "val": one, "test": one},
    }  # fmt: skip
    lines = _table(scores)
    assert lines["trained, published C"] == ["0.01", "-", "-", "0.500", "0.250"]
    assert lines["random, uncalibrated"] == ["100", "0.500", "0.250", "0.500", "0.250"]
    lines = _table({"trained": {"c": 1.0, "val": one, "test": None}, "random": scores["random"]})
    assert list(lines) == ["trained", "random weights"]


@pytest.mark.parametrize(
    ("message", "key"),
    [
        ("pretrain: pretrain.optimizer.lr: the loss is not finite at step 3", "pretrain.optimizer.lr"),
        ("pretrain: /x/pretrain.batch is gone and so is pretrain.json", None),
        ("prepare: its job was lost 5 times", None),
    ],
)
def test_a_fault_in_the_config_asks_for_a_new_run_and_any_other_for_resume(message: str, key: str | None) -> None:
    console = Console(file=io.StringIO(), width=140)
    config = {"pretrain": {"batch": 32, "optimizer": {"lr": 1.0}}}
    print_orders("p-1", FAILED, message, config, console)
    first = next(line for line in _text(console).splitlines() if line.startswith("  "))
    assert first.startswith(f"  adacrossnet run CONFIG --set {key}=VALUE" if key else "  adacrossnet resume p-1")


def test_a_command_that_is_not_on_path_is_named_by_its_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / ".venv" / "bin" / "adacrossnet"), "run"])
    monkeypatch.setenv("PATH", "")
    assert typed("`adacrossnet up` or models:/adacrossnet-x\n  adacrossnet show p") == (
        "`.venv/bin/adacrossnet up` or models:/adacrossnet-x\n  .venv/bin/adacrossnet show p"
    )
    script = tmp_path / "adacrossnet"
    script.write_text("")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert typed("adacrossnet up") == "adacrossnet up"


def _table(scores: Mapping[str, object]) -> dict[str, list[str]]:
    console = Console(file=io.StringIO(), width=140)
    empty: dict[str, object] = {"protocol": {}, "loss": {"before": None, "after": None}, "weights": {}, "clouds_per_s": None, "stages": {}}
    print_summary({**empty, "scores": scores, "model": {"name": None}, "pictures": []}, console)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in _text(console).splitlines() if line.startswith("│")]
    return {cells[0]: cells[1:] for cells in rows}


def _text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
