"""`logs --follow` over a job server that does not always answer."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service import kept_logs
from service.home import Home
from service.ledger import Ledger
from service.tables import LOST, SUCCEEDED, UP


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(Home(tmp_path).ledger_url)
    opened.add("p-1", "p", {}, ("prepare",), UP, "http://tracking:5000")
    opened.start_attempt(opened.get("p-1").stages[0])
    yield opened
    opened.close()


def test_an_unanswered_request_does_not_make_it_print_the_log_again(own: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["one\n", "", "one\ntwo\n"])

    def answer(*_: object) -> str:
        text = next(answers)
        if "two" in text:
            own.set_pipeline("p-1", state=SUCCEEDED)
        return text

    monkeypatch.setattr(kept_logs, "log_of", answer)
    monkeypatch.setattr(kept_logs.time, "sleep", lambda seconds: None)
    said = []
    for text in kept_logs.texts("p-1", None, True, {}, own, Home(tmp_path)):
        said.append(text)
        if next(iter(own.recent(1))).state == SUCCEEDED:
            monkeypatch.setattr(kept_logs, "log_of", lambda *_: "one\ntwo\n")
    assert "".join(said) == "--- p-1-prepare-1\none\ntwo\n"


def test_a_log_that_went_with_its_cluster_is_said_to_have_gone(own: Ledger, tmp_path: Path) -> None:
    attempt = own.get("p-1").stages[0].attempts[0]
    own.end_attempt(attempt, LOST, None, "the job server does not know it any more")
    said = "".join(kept_logs.texts("p-1", None, False, {}, own, Home(tmp_path)))
    assert said == "--- p-1-prepare-1\n(its log went with the cluster's head)\n"
