"""A run of several benchmarks: what one leaves, and how it ends."""
from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from jobs.bench import __main__ as bench
from jobs.bench.fresh import compared

GOOD = {"benchmark": "good", **compared({"fast": [1.0], "slow": [6.0]}), "unit": "s", "target": "at least 5"}


def good(rounds: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    return [GOOD]


def slow(rounds: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    return [{**GOOD, "benchmark": "slow", "ratio": 4.0}]


def lacking(rounds: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    import_module("no_such_package")
    raise AssertionError


def broken(rounds: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    raise RuntimeError("ended with 1")


def misnamed(rounds: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    import_module("jobs.no_such_module")
    raise AssertionError


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, dict[str, Any]]]:
    """The exit status of these benchmarks, and what stands in the file."""

    def given(*measures: Callable[..., list[dict[str, Any]]]) -> tuple[int, dict[str, Any]]:
        monkeypatch.setattr(bench, "BENCHMARKS", {measure.__name__: measure for measure in measures})
        status = bench.main(["--out", str(tmp_path / "runs" / "bench.json")])
        return status, json.loads((tmp_path / "runs" / "bench.json").read_text())

    return given


def test_a_benchmark_that_lacks_a_package_is_skipped_with_its_reason(
    run: Callable[..., tuple[int, dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    status, record = run(lacking, good)
    assert status == 0
    assert [result["benchmark"] for result in record["results"]] == ["good"]
    assert record["skipped"] == {"lacking": "ModuleNotFoundError: No module named 'no_such_package'"} and record["failed"] == {}
    assert "skipped: lacking: ModuleNotFoundError: No module named 'no_such_package'" in capsys.readouterr().out


@pytest.mark.parametrize("failing", [broken, misnamed])
def test_one_that_fails_is_reported_after_the_others_and_the_status_is_1(
    failing: Callable[..., list[dict[str, Any]]], run: Callable[..., tuple[int, dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    status, record = run(failing, good)
    assert status == 1
    assert [result["benchmark"] for result in record["results"]] == ["good"]
    assert list(record["failed"]) == [failing.__name__] and record["skipped"] == {}
    said = capsys.readouterr()
    assert f"failed: {failing.__name__}: {record['failed'][failing.__name__]}" in said.out and "Traceback" in said.err


def test_a_missed_bar_is_named_and_the_status_is_1(
    run: Callable[..., tuple[int, dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(good, slow)[0] == 1
    assert "missed: slow : 4.00, asked: at least 5" in capsys.readouterr().out


def test_what_was_measured_stands_in_the_file_when_a_later_one_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(rounds: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "BENCHMARKS", {"good": good, "interrupted": interrupted})
    with pytest.raises(KeyboardInterrupt):
        bench.main(["--out", str(tmp_path / "bench.json")])
    assert json.loads((tmp_path / "bench.json").read_text())["results"] == [GOOD]


def test_figures_name_their_machine() -> None:
    machine = bench.machine()
    assert machine["cores"] == os.cpu_count()
    names = [line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    assert machine["machine"] == names[0] if names else machine["machine"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["encoders"], "no benchmark encoders: there are encoder, whole_step, svm, ray_step, reading"),
        (["--rounds", "0"], "--rounds 0: at least 1"),
        (["encoder", "--features", "none.npz"], "--features none.npz is for svm"),
        (["--features", "none.npz"], "--features none.npz cannot be read (FileNotFoundError"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.main(arguments)
    assert ended.value.code == 2 and said in capsys.readouterr().err
