"""The ledger: rows whole or not at all, unique ids, one lease."""
from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from service.leases import Busy
from service.ledger import Ledger, Repeated, TooMany, new_id
from service.settings import Webhook
from service.tables import CANCELLED, EMBEDDED, FAILED, LOST, PRIVATE, QUEUED, RETRIED, RUNNING, STOPPED, SUCCEEDED, UP, Notice, Request


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(f"sqlite:///{tmp_path}/folder/ledger.sqlite")
    yield opened
    opened.close()


def test_ids_are_fit_for_ray_jobs_and_differ() -> None:
    ids = {new_id("my_run-2") for _ in range(200)}
    assert len(ids) == 200
    assert all(re.fullmatch(r"my_run-2-\d{8}-[0-9a-f]{6}", one) for one in ids)


def test_a_pipeline_is_stored_with_its_stages_in_order(empty: Ledger) -> None:
    empty.add("p-1", "p", {"seed": 3}, ("prepare", "pretrain"), UP, EMBEDDED)
    row = empty.get("p-1")
    assert (row.config, row.state, [stage.name for stage in row.stages]) == ({"seed": 3}, QUEUED, ["prepare", "pretrain"])


def test_a_taken_id_is_refused_and_the_first_pipeline_stays(empty: Ledger) -> None:
    empty.add("p-1", "p", {"seed": 3}, ("prepare",), UP, EMBEDDED)
    with pytest.raises(ValueError, match="p-1 is taken"):
        empty.add("p-1", "p", {"seed": 4}, ("prepare",), UP, EMBEDDED)
    assert empty.get("p-1").config == {"seed": 3}


def test_a_new_pipeline_draws_ids_until_one_is_free(empty: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["p-1", "p-1", "p-1", "p-2"])
    monkeypatch.setattr("service.ledger.new_id", lambda name: next(drawn))
    for expected, key in (("p-1", "a"), ("p-2", "b")):
        request = Request(owner="anna", key=key, digest="d", created=0.0)
        assert empty.add_new("p", {}, ("prepare",), UP, EMBEDDED, owner="anna", request=request) == expected
        found = empty.request("anna", key)
        assert found is not None
        assert found.pipeline_id == expected


def test_an_unknown_id_names_the_nearest(empty: Ledger) -> None:
    empty.add("quickstart-20250101-abcdef", "quickstart", {}, ("prepare",), UP, EMBEDDED)
    with pytest.raises(ValueError, match="did you mean quickstart-20250101-abcdef"):
        empty.get("quickstart-20250101-abcdee")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sqlite:///{folder}/text.txt", "file is not a database"),
        ("nosuch://u:secret@host/db", "dialects:nosuch"),
        ("postgresql+nosuch://u:secret@host/db", "postgresql.nosuch"),
        ("sqlite+pysqlcipher:///x", "pysqlcipher3', its driver"),
        ("postgresql://u:sec@ret@host:port/db", "port"),
        ("no url", "Could not parse"),
    ],
)
def test_a_ledger_that_cannot_be_opened_is_named_without_its_password(url: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("this is no database, " * 50)
    with pytest.raises(ValueError, match="ADACROSSNET_LEDGER") as raised:
        Ledger(url.format(folder=tmp_path))
    assert reason in str(raised.value)
    assert "sec" not in str(raised.value)


def test_an_attempt_recorded_twice_at_once_is_recorded_once(empty: Ledger) -> None:
    empty.add("p-1", "p", {}, ("prepare",), UP, EMBEDDED)
    stage = empty.get("p-1").stages[0]
    empty.start_attempt(stage)
    with pytest.raises(IntegrityError):
        empty.start_attempt(stage)  # as another submitter would, that had read the row before
    assert [one.job_id for one in empty.get("p-1").stages[0].attempts] == ["p-1-prepare-1"]


def test_reopening_keeps_finished_stages(empty: Ledger) -> None:
    empty.add("p-1", "p", {}, ("prepare", "pretrain"), PRIVATE, EMBEDDED)
    prepare, pretrain = empty.get("p-1").stages
    empty.set_stage(prepare.id, state=SUCCEEDED)
    empty.set_stage(pretrain.id, state=FAILED, message="why")
    empty.set_pipeline("p-1", state=FAILED, cancel_requested=True)
    empty.reopen("p-1", UP, EMBEDDED)
    row = empty.get("p-1")
    assert (row.state, row.cancel_requested, row.cluster) == (QUEUED, False, UP)
    assert [(stage.state, stage.message) for stage in row.stages] == [(SUCCEEDED, None), (QUEUED, None)]


def test_reopening_forgives_lost_attempts_of_that_pipeline_alone(empty: Ledger) -> None:
    for pipeline in ("p-1", "p-2"):
        empty.add(pipeline, "p", {}, ("prepare",), UP, EMBEDDED)
        empty.start_attempt(empty.get(pipeline).stages[0])
        empty.end_attempt(empty.get(pipeline).stages[0].attempts[0], LOST, FAILED, "gone")
    empty.reopen("p-1", UP, EMBEDDED)
    assert [empty.get(one).stages[0].attempts[0].state for one in ("p-1", "p-2")] == [STOPPED, LOST]


def test_one_of_many_gets_the_lease(empty: Ledger) -> None:
    got: list[str] = []
    leases = empty.leases
    threads = [threading.Thread(target=lambda n=n: got.append(n) if leases.acquire("shared", n, 60) else None) for n in map(str, range(8))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
    assert empty.leases.holder("shared") == got[0]
    assert empty.leases.acquire("shared", got[0], 60), "its holder renews it"


def test_a_lease_is_free_after_it_expires_or_is_released(empty: Ledger) -> None:
    assert empty.leases.acquire("shared", "a", -1)
    assert empty.leases.holder("shared") is None
    assert empty.leases.acquire("shared", "b", 60)
    assert not empty.leases.acquire("shared", "a", 60)
    empty.leases.release("shared", "a")  # not its own: nothing happens
    assert empty.leases.holder("shared") == "b"
    empty.leases.release("shared", "b")
    assert empty.leases.acquire("shared", "a", 60)


def test_sqlite_runs_in_write_ahead_mode(empty: Ledger) -> None:
    with empty.database.engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"


def test_the_queue_is_in_order_of_priority_then_age_and_holds_no_started_cancelled_or_private_pipeline(empty: Ledger) -> None:
    queue = (("a", 0, UP), ("b", 5, UP), ("c", 0, UP), ("d", 5, "http://head:8265"), ("e", 9, PRIVATE), ("f", 9, UP))
    for name, priority, cluster in queue:
        empty.add(name, name, {}, ("prepare",), cluster, EMBEDDED, owner="anna", priority=priority)
    empty.set_pipeline("f", cancel_requested=True)
    assert [one.id for one in empty.waiting()] == ["b", "d", "a", "c"]
    empty.set_pipeline("b", admitted=True)
    assert [one.id for one in empty.waiting()] == ["d", "a", "c"]
    assert [one.id for one in empty.active()] == ["b", "f"], "what acts: admitted, or to be cancelled"
    empty.set_messages(["a", "c"], "waits")
    assert [one.message for one in empty.waiting()] == [None, "waits", "waits"]


def test_a_repeated_idempotency_key_adds_nothing_and_tells_what_it_was_used_for(empty: Ledger) -> None:
    def request(pipeline: str, owner: str = "anna") -> Request:
        return Request(owner=owner, key="k", digest="d", pipeline_id=pipeline, created=0.0)

    empty.add("p-1", "p", {}, ("prepare",), UP, EMBEDDED, request=request("p-1"))
    with pytest.raises(Repeated) as repeated:
        empty.add("p-2", "p", {}, ("prepare",), UP, EMBEDDED, request=request("p-2"))
    assert repeated.value.request.pipeline_id == "p-1"
    with pytest.raises(ValueError, match="no pipeline 'p-2'"):
        empty.get("p-2")
    empty.add("p-3", "p", {}, ("prepare",), UP, EMBEDDED, request=request("p-3", owner="bert"))
    assert empty.get("p-3").id == "p-3", "keys are each person's own"


def test_pages_of_pipelines_meet_without_gap_or_overlap_also_where_ages_are_equal(empty: Ledger) -> None:
    for number in range(25):
        empty.add(f"p-{number:02d}", "p", {}, ("prepare",), UP, EMBEDDED, owner="anna" if number % 2 else "bert")
        empty.set_pipeline(f"p-{number:02d}", created=float(number // 5))
    seen, last = [], None
    while page := empty.recent(4, before=last):
        seen += [one.id for one in page]
        last = seen[-1]
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 25
    assert {one.owner for one in empty.recent(100, owner="anna")} == {"anna"}
    assert empty.recent(100, state=SUCCEEDED) == []


def test_a_retried_attempt_counts_no_more_once_the_pipeline_is_reopened(empty: Ledger) -> None:
    empty.add("p-1", "p", {}, ("pretrain",), UP, EMBEDDED)
    empty.start_attempt(empty.get("p-1").stages[0])
    empty.retry(empty.get("p-1").stages[0].attempts[0], "node lost", "a node was lost", 123.0, {"pretrain.batch": 8})
    stage = empty.get("p-1").stages[0]
    assert (stage.state, stage.not_before, stage.changes, stage.attempts[0].state) == (RUNNING, 123.0, {"pretrain.batch": 8}, RETRIED)
    empty.give_up("p-1", FAILED, "no more")
    empty.reopen("p-1", UP, EMBEDDED)
    stage = empty.get("p-1").stages[0]
    assert (stage.state, stage.not_before, stage.attempts[0].state) == (QUEUED, None, FAILED)


def test_of_cancel_and_admission_the_first_wins_whatever_was_read_before(empty: Ledger) -> None:
    for pipeline in ("p-1", "p-2"):
        empty.add(pipeline, "p", {}, ("prepare",), UP, EMBEDDED)
    assert empty.ask_cancel("p-1")
    assert empty.get("p-1").state == CANCELLED and not empty.admit("p-1")
    assert empty.admit("p-2") and not empty.admit("p-2")
    assert empty.ask_cancel("p-2")
    row = empty.get("p-2")
    assert (row.state, row.cancel_requested) == (QUEUED, True), "it may have a job: the submitter ends it"
    assert not empty.ask_cancel("p-1"), "it has ended already"
    empty.runs("p-1")
    assert empty.get("p-1").state == CANCELLED, "a job that was submitted late brings nothing back"


def test_a_pipeline_that_was_resumed_while_its_records_were_closed_goes_on(empty: Ledger) -> None:
    empty.add("p-1", "p", {}, ("prepare",), UP, EMBEDDED)
    empty.give_up("p-1", FAILED, "its cluster is away")
    seen = empty.get("p-1")
    assert empty.reopen("p-1", UP, EMBEDDED, ended=True)
    assert not empty.reopen("p-1", UP, EMBEDDED, ended=True), "the second of two is too late"
    empty.finish(seen, FAILED, "its cluster is away")
    assert empty.get("p-1").state == QUEUED


def test_the_share_of_a_person_is_counted_where_one_is_added_and_where_one_is_resumed(empty: Ledger) -> None:
    for number in range(2):
        empty.add(f"p-{number}", "p", {}, ("prepare",), UP, EMBEDDED, owner="anna", most=2)
    with pytest.raises(TooMany, match="anna has 2 pipelines"):
        empty.add("p-2", "p", {}, ("prepare",), UP, EMBEDDED, owner="anna", most=2)
    empty.give_up("p-0", FAILED, "no more")
    empty.add("p-3", "p", {}, ("prepare",), UP, EMBEDDED, owner="anna", most=2)
    with pytest.raises(TooMany):
        empty.reopen("p-0", UP, EMBEDDED, ended=True, most=2)
    assert empty.get("p-0").state == FAILED


def test_a_stage_that_waits_for_its_next_attempt_ends_with_its_pipeline(empty: Ledger) -> None:
    empty.add("p-1", "p", {}, ("pretrain",), UP, EMBEDDED)
    empty.start_attempt(empty.get("p-1").stages[0])
    empty.retry(empty.get("p-1").stages[0].attempts[0], "node lost", "a node was lost", 123.0, None)
    empty.finish(empty.get("p-1"), CANCELLED, "cancelled on request")
    assert empty.get("p-1").stages[0].state == CANCELLED
    assert empty.reopen("p-1", UP, EMBEDDED, ended=True)
    assert (empty.get("p-1").stages[0].state, empty.get("p-1").stages[0].not_before) == (QUEUED, None)


def test_every_end_is_told_once_also_one_whose_records_are_closed_later(empty: Ledger, tmp_path: Path) -> None:
    empty.webhooks = (Webhook(url="http://a.example.org", secret_file=tmp_path / "s"),)
    for pipeline in ("p-1", "p-2", "p-3"):
        empty.add(pipeline, "p", {}, ("prepare",), UP, EMBEDDED)
    empty.give_up("p-1", FAILED, "its cluster is away")
    empty.finish(empty.get("p-1"), FAILED, "its cluster is away")
    empty.ask_cancel("p-2")
    empty.finish(empty.get("p-3"), SUCCEEDED, None)
    with empty.database.read() as session:
        told = [(row.event, row.body["pipeline"], row.body["state"]) for row in session.query(Notice).order_by(Notice.id)]
    assert told == [("failed", "p-1", FAILED), ("cancelled", "p-2", CANCELLED), ("succeeded", "p-3", SUCCEEDED)]


def test_only_one_at_a_time_is_alone(empty: Ledger) -> None:
    with empty.leases.alone("registry/m"), pytest.raises(Busy, match="registry/m is being changed"), empty.leases.alone("registry/m", 0.2):
        pass
    with empty.leases.alone("registry/m", 0.2):
        pass
