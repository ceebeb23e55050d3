"""What is read out of a job's log."""
from __future__ import annotations

import pytest

from service.job_log import clean, error_in, last_lines, latest_progress

_TRACE = """pretrain: epoch 1/3
Traceback (most recent call last):
  File "x.py", line 3, in <module>
    raise ValueError("batch is 32, the dataset has 8 shapes")
ValueError: batch is 32, the dataset has 8 shapes
lower pretrain.batch
"""


@pytest.mark.parametrize(
    "line", ["(RayTrainWorker pid=12) a: b", "(RayTrainWorker pid=12, ip=10.0.0.1) a: b", "\x1b[36m(pid=9)\x1b[0m a: b  ", "a: b"]
)
def test_rays_prefix_and_colours_are_taken_off(line: str) -> None:
    assert clean(line) == "a: b"


def test_the_latest_progress_line_is_the_stages_own() -> None:
    log = "pretrain: epoch 1/3\n(RayTrainWorker pid=3) pretrain: epoch 2/3, 4 s left\nwarning: something else\n"
    assert latest_progress(log, "pretrain") == "epoch 2/3, 4 s left"
    assert latest_progress(log, "evaluate") is None


def test_the_error_is_its_message_with_its_further_lines() -> None:
    assert error_in(_TRACE, "pretrain") == "batch is 32, the dataset has 8 shapes\nlower pretrain.batch"


def test_of_several_errors_the_last_counts_and_an_unplain_kind_is_named() -> None:
    log = f"{_TRACE}\nDuring handling of the above exception, another exception occurred:\n\nray.exceptions.ActorDiedError: it died\n"
    assert error_in(log, "pretrain") == "ActorDiedError: it died"


def test_what_the_stage_says_last_counts_before_an_error_that_it_recovered_from_and_keeps_its_lines() -> None:
    faults = "/data is damaged:\n  shard-00000.arrow: its checksum is not the manifest's\n  index.arrow: missing"
    log = f"pretrain: error: of a try before\n{_TRACE}pretrain: epoch 2/3\npretrain: error: {faults}\n\nTypeError: at exit\n"
    assert error_in(log, "pretrain") == faults
    assert error_in(log, "prepare") == "TypeError: at exit"


def test_a_message_without_end_is_cut() -> None:
    log = "prepare: error: many\n" + "".join(f"fault {number}\n" for number in range(50))
    assert error_in(log, "prepare").splitlines() == ["many", *(f"fault {number}" for number in range(8))]


def test_without_an_exception_the_last_line_is_the_error() -> None:
    assert error_in("one\ntwo\n\n", "prepare") == "two"
    assert error_in("", "prepare") == ""


def test_the_last_lines_are_clean() -> None:
    assert last_lines("a\n(W pid=1) b\nc", 2) == "b\nc"
