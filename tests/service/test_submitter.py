"""What the submitter does with jobs that fail, are lost, are cancelled, and with other submitters; on a real Ray and MLflow."""
from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.local import LocalCluster
from jobs.config import Pipeline as Config
from jobs.config.sections import Driver
from service import summary
from service.endpoints import Target, resolve
from service.home import Home
from service.launch import cancel, keep_logs, reopen
from service.ledger import Ledger
from service.mlflow_runs import Runs
from service.ray_jobs import _reserved
from service.reconcile import STEPS, Reconciler
from service.session import Hold
from service.settings import Quota, Settings
from service.submitter import LEASE_S, SHARED, Submitter, living_holder, rounds, standstill
from service.tables import CANCELLED, EMBEDDED, FAILED, LOST, QUEUED, RETRIED, RUNNING, STOPPED, SUCCEEDED, UP, Pipeline
from tests.service.conftest import environment, ran, until_ended


@pytest.fixture
def submitter(ledger: Ledger, home: Home):  # type: ignore[no-untyped-def]
    one = Submitter(ledger, home)
    yield one
    one.release()


@pytest.fixture
def runs(shared: tuple[Home, LocalCluster]) -> Runs:
    uri = shared[1].tracking_uri
    assert uri is not None
    return Runs(uri)


def test_a_failed_stage_ends_the_pipeline_with_the_jobs_own_message_and_resumes_with_the_same_run(
    submitter: Submitter, add: Callable[..., str], runs: Runs, home: Home, shared: tuple[Home, LocalCluster]
) -> None:
    pipeline = add("prepare", "pretrain", name="flaky")
    row = until_ended(submitter, pipeline)
    assert row.state == FAILED
    assert row.message == "pretrain: pretrain.optimizer.lr: the loss of rank 0 is not finite at step 3; lower the rate"
    assert [runs.status(str(run)) for run in (row.run_id, row.stages[0].run_id, row.stages[1].run_id)] == ["FAILED", "FINISHED", "FAILED"]
    assert "ValueError" in home.log(pipeline, "pretrain", 1).read_text()
    first_runs = [row.run_id, *(stage.run_id for stage in row.stages)]

    endpoint = resolve(UP, EMBEDDED, home)
    assert endpoint is not None
    reopen(row, Hold(Target(UP, EMBEDDED), endpoint, None), submitter.ledger, home)
    row = until_ended(submitter, pipeline)
    assert row.state == SUCCEEDED
    assert ran(row) == ["prepare", "pretrain", "pretrain"], "the finished stage did not run again"
    assert [row.run_id, *(stage.run_id for stage in row.stages)] == first_runs
    assert {runs.status(str(run)) for run in first_runs} == {"FINISHED"}
    with pytest.raises(ValueError, match="has succeeded"):
        reopen(row, Hold(Target(UP, EMBEDDED), endpoint, None), submitter.ledger, home)


def test_evaluations_run_beside_each_other_and_one_that_fails_keeps_no_other_from_its_end(
    submitter: Submitter, add: Callable[..., str], home: Home
) -> None:
    pipeline = add("prepare", "fewshot", "parts", "parts-2", name="flaky-evaluation", at_once=2)
    row = until_ended(submitter, pipeline)
    assert [stage.state for stage in row.stages] == [SUCCEEDED, FAILED, SUCCEEDED, SUCCEEDED]
    assert (row.state, row.message) == (FAILED, "fewshot: fewshot: the dataset has no class")
    assert sorted(ran(row)) == ["fewshot", "parts", "parts", "prepare"]
    first, second, third = (stage.attempts[0] for stage in row.stages[1:])
    assert third.started >= min(one.ended or 0.0 for one in (first, second)), "two at once, not three"
    endpoint = resolve(UP, EMBEDDED, home)
    assert endpoint is not None
    reopen(row, Hold(Target(UP, EMBEDDED), endpoint, None), submitter.ledger, home)
    row = until_ended(submitter, pipeline)
    assert row.state == SUCCEEDED and sorted(ran(row)) == ["fewshot", "fewshot", "parts", "parts", "prepare"]


@pytest.mark.soak
def test_one_evaluation_at_once_is_the_default_and_cancelling_stops_all_that_run(
    submitter: Submitter, add: Callable[..., str], ledger: Ledger, home: Home
) -> None:
    one = until_ended(submitter, add("fewshot", "parts"))
    first, second = (stage.attempts[0] for stage in one.stages)
    assert one.state == SUCCEEDED and first.ended is not None and second.started is not None and first.ended <= second.started
    pipeline = add("parts", "parts-2", at_once=2)
    until = time.monotonic() + 30
    while [stage.state for stage in ledger.get(pipeline).stages] != [RUNNING, RUNNING]:
        assert time.monotonic() < until
        submitter.tick()
    row = cancel(ledger.get(pipeline), ledger, home)
    assert row.state == CANCELLED and {stage.state for stage in row.stages} <= {CANCELLED, SUCCEEDED}


def test_a_job_that_the_server_forgot_is_a_lost_attempt_and_the_stage_keeps_its_run(
    submitter: Submitter, add: Callable[..., str], ledger: Ledger, runs: Runs
) -> None:
    pipeline = add("prepare")
    submitter.tick()
    stage = ledger.get(pipeline).stages[0]
    ledger.set_attempt(stage.attempts[0].id, job_id=f"{pipeline}-before-the-head-restarted")
    row = until_ended(submitter, pipeline)
    assert row.state == SUCCEEDED
    assert [(one.number, one.state) for one in row.stages[0].attempts] == [(1, LOST), (2, SUCCEEDED)]
    assert row.stages[0].run_id == stage.run_id
    assert len(runs.find(runs.experiment("adacrossnet"), pipeline, "prepare")) == 1


def test_a_run_whose_id_stands_in_no_row_is_closed(submitter: Submitter, add: Callable[..., str], runs: Runs) -> None:
    pipeline = add("prepare")
    experiment = runs.experiment("adacrossnet")
    adopted, orphan = (runs.create(experiment, "prepare", {"pipeline": pipeline, "stage": "prepare"}) for _ in range(2))
    row = until_ended(submitter, pipeline)
    assert row.stages[0].run_id in (adopted, orphan)
    other = orphan if row.stages[0].run_id == adopted else adopted
    assert runs.status(str(row.stages[0].run_id)) == "FINISHED"
    assert runs.status(other) == "KILLED"


def test_cancelling_stops_the_job_and_marks_the_runs_killed(
    submitter: Submitter, add: Callable[..., str], ledger: Ledger, home: Home, runs: Runs
) -> None:
    pipeline = add("pretrain", "evaluate", epochs=60)
    while ran(ledger.get(pipeline)) != ["pretrain"]:
        submitter.tick()
        time.sleep(0.1)
    submitter.release()
    row = cancel(ledger.get(pipeline), ledger, home)
    assert (row.state, row.stages[0].state) == (CANCELLED, CANCELLED)
    assert [runs.status(str(run)) for run in (row.run_id, row.stages[0].run_id)] == ["KILLED", "KILLED"]
    assert row.stages[1].attempts == []
    with pytest.raises(ValueError, match="has ended already"):
        cancel(row, ledger, home)


def test_a_pipeline_whose_cluster_is_gone_is_cancelled_all_the_same_unless_a_submitter_lives(
    add: Callable[..., str], ledger: Ledger, home: Home
) -> None:
    pipeline = add("prepare")
    ledger.set_pipeline(pipeline, cluster="http://127.0.0.1:9", state=RUNNING)  # nobody listens there
    ledger.start_attempt(ledger.get(pipeline).stages[0])
    assert ledger.leases.acquire(SHARED, "elsewhere:boot:1:1", 60)
    assert cancel(ledger.get(pipeline), ledger, home, seconds=0.5).state == RUNNING, "the other one goes on trying"
    ledger.leases.release(SHARED, "elsewhere:boot:1:1")
    row = cancel(ledger.get(pipeline), ledger, home, seconds=0.5)
    assert (row.state, row.message) == (CANCELLED, "cancelled on request; its cluster did not answer")


@pytest.mark.parametrize(("cluster", "way"), [(UP, "unset RAY_ADDRESS"), ("http://head:8265", "set RAY_ADDRESS to it")])
def test_a_pipeline_that_still_runs_on_a_cluster_is_not_reopened_on_another(
    cluster: str, way: str, add: Callable[..., str], ledger: Ledger, home: Home
) -> None:
    pipeline = add("prepare")
    ledger.set_pipeline(pipeline, cluster=cluster, state=RUNNING)
    endpoint = resolve(UP, EMBEDDED, home)
    assert endpoint is not None
    try:
        with pytest.raises(ValueError, match=rf"{pipeline} runs on .*: {way} to follow it, or `adacrossnet cancel {pipeline}` first"):
            reopen(ledger.get(pipeline), Hold(Target("http://other:8265", EMBEDDED), endpoint, None), ledger, home)
        assert ledger.get(pipeline).cluster == cluster
    finally:
        ledger.set_pipeline(pipeline, state=CANCELLED)


def test_two_submitters_at_once_make_one_job_a_stage(
    add: Callable[..., str], ledger: Ledger, home: Home, runs: Runs, tmp_path: Path
) -> None:
    pipeline, survived = add("prepare", "pretrain"), tmp_path / "all"
    survived.write_text("\n".join(STEPS) + "\n")  # so that neither kills itself
    command = [sys.executable, "-m", "tests.service.killed_submitter", str(home.path), pipeline, str(survived)]
    root = Path(__file__).parents[2]
    both = [subprocess.Popen(command, env=environment(), cwd=root) for _ in range(2)]
    assert [one.wait(timeout=90) for one in both] == [0, 0]
    row = ledger.get(pipeline)
    assert row.state == SUCCEEDED
    assert ran(row) == ["prepare", "pretrain"]
    assert len(runs.find(runs.experiment("adacrossnet"), pipeline)) == 3


def test_a_row_with_a_config_that_the_schema_no_longer_takes_fails_by_itself_and_the_younger_ones_go_on(
    submitter: Submitter, add: Callable[..., str], ledger: Ledger, runs: Runs
) -> None:
    old, broken, young = add("prepare"), add("prepare"), add("prepare")
    ledger.set_pipeline(old, config={**ledger.get(old).config, "gone": 1})
    ledger.set_pipeline(broken, config=["no mapping"])  # nothing expects that
    row = until_ended(submitter, young)
    assert row.state == SUCCEEDED
    row = ledger.get(old)
    assert (row.state, row.message) == (FAILED, row.stages[0].message and f"prepare: {row.stages[0].message}")
    assert "its stored config: gone: unknown key" in str(row.message)
    assert runs.status(str(row.run_id)) == "FAILED"
    row = ledger.get(broken)
    assert (row.state, str(row.message).partition(":")[0]) == (QUEUED, "AttributeError")
    ledger.set_pipeline(broken, state=CANCELLED)


def test_pipelines_over_the_limit_wait_and_the_oldest_goes_first(add: Callable[..., str], ledger: Ledger, home: Home) -> None:
    one_at_once = Submitter(ledger, home, settings=Settings(at_once=1))
    first, second, third = (add("prepare") for _ in range(3))
    try:
        until_ended(one_at_once, first)
        assert [ledger.get(one).message for one in (second, third)] == ["waits for its turn: 1 pipeline runs at once on this cluster"] * 2
        assert not ledger.get(second).run_id
        until_ended(one_at_once, second)
        assert ledger.get(third).stages[0].attempts == []
        row = until_ended(one_at_once, third)
        assert (row.state, row.message) == (SUCCEEDED, None)
        assert (summary.read(third, home) or {})["state"] == SUCCEEDED, "the one that closes it collects its results"
    finally:
        one_at_once.release()


def test_priority_goes_before_age_and_a_persons_share_before_both(add: Callable[..., str], ledger: Ledger, home: Home) -> None:
    settings = Settings(at_once=2, quotas={"anna": Quota(running=1)})
    submitter = Submitter(ledger, home, settings=settings)
    first, second, third, urgent = add("prepare"), add("prepare"), add("prepare"), add("prepare")
    for pipeline, owner, priority in ((first, "anna", 0), (second, "anna", 0), (third, "bert", 0), (urgent, "anna", 7)):
        ledger.set_pipeline(pipeline, owner=owner, priority=priority)
    try:
        submitter.tick()
        assert [ledger.get(one).admitted for one in (first, second, third, urgent)] == [False, False, True, True]
        submitter.tick()
        assert ledger.get(first).message in (
            "waits for its turn: 1 pipeline runs at once for anna", "waits for its turn: at most 2 pipelines run at once on this cluster",
        )  # fmt: skip
        for pipeline in (first, second, third, urgent):
            assert until_ended(submitter, pipeline).state == SUCCEEDED
        began = {one: ledger.get(one).stages[0].attempts[0].started for one in (first, second, urgent)}
        assert began[urgent] < began[first] < began[second]
    finally:
        submitter.release()


def test_what_asks_for_more_than_the_cluster_has_waits_and_says_what_is_missing_while_others_go_on(
    submitter: Submitter, add: Callable[..., str], ledger: Ledger
) -> None:
    large, small = add("prepare"), add("prepare")
    config = ledger.get(large).config
    ledger.set_pipeline(large, config={**config, "cluster": {**config["cluster"], "workers": 4, "gpus_per_worker": 1.0}}, priority=5)
    assert until_ended(submitter, small).state == SUCCEEDED
    row = ledger.get(large)
    assert (row.state, row.stages[0].attempts) == (QUEUED, [])
    assert str(row.message).startswith("waits for room: the pipeline asks for 4 workers x 1 CPU and 1 GPU; the cluster at http://127.0.0.1:")
    assert "has 2 CPU, 0 GPU on 1 node" in str(row.message)
    ledger.set_pipeline(large, config=config)
    other = Submitter(ledger, submitter.home)  # one that has not read its config yet
    submitter.release()
    try:
        assert until_ended(other, large).state == SUCCEEDED
    finally:
        other.release()


def test_a_driver_that_is_killed_is_tried_again_after_a_while_with_the_same_run(
    submitter: Submitter, add: Callable[..., str], ledger: Ledger, runs: Runs
) -> None:
    pipeline = add("pretrain", name="killed")
    row = until_ended(submitter, pipeline)
    assert (row.state, ran(row)) == (SUCCEEDED, ["pretrain", "pretrain"])
    first, second = row.stages[0].attempts
    assert (first.state, first.cause, second.state) == (RETRIED, "killed", SUCCEEDED)
    assert str(first.message).startswith("its driver was killed from outside")
    assert second.started - first.ended >= 1.0, "the time that the config asks for lies between them"
    assert runs.status(str(row.stages[0].run_id)) == "FINISHED"
    assert "killed from outside" in runs.client.get_run(row.stages[0].run_id).data.tags["retried"]


def test_a_full_gpu_goes_on_with_half_the_batch_where_the_config_allows_it(
    submitter: Submitter, add: Callable[..., str], ledger: Ledger
) -> None:
    refused, allowed = add("pretrain", name="gpu-full"), add("pretrain", name="gpu-full")
    config = ledger.get(allowed).config
    ledger.set_pipeline(allowed, config={**config, "limits": {**config["limits"], "smaller_batch": True, "backoff_s": 0.1}})
    row = until_ended(submitter, refused)
    assert (row.state, len(row.stages[0].attempts), row.stages[0].attempts[0].cause) == (FAILED, 1, "gpu memory")
    row = until_ended(submitter, allowed)
    assert (row.state, [one.state for one in row.stages[0].attempts]) == (SUCCEEDED, [RETRIED, SUCCEEDED])
    assert row.stages[0].changes == {"pretrain.batch": 16}
    assert row.config["pretrain"]["batch"] == 32, "what was asked stays on record"


def test_a_stages_driver_reserves_what_the_config_says(
    submitter: Submitter, add: Callable[..., str], ledger: Ledger
) -> None:
    pipeline = add("prepare")
    config = ledger.get(pipeline).config
    cluster = {**config["cluster"], "drivers": {"prepare": {"cpus": 2.0, "gpus": 0.0, "accelerator_type": None}}}
    ledger.set_pipeline(pipeline, config={**config, "cluster": cluster})
    assert until_ended(submitter, pipeline).state == SUCCEEDED, "Ray takes what is asked for"
    assert _reserved(Driver(cpus=2.0, gpus=0.5, accelerator_type="A10G")) == {
        "entrypoint_num_cpus": 2.0, "entrypoint_num_gpus": 0.5, "entrypoint_resources": {"accelerator_type:A10G": 0.001},
    }  # fmt: skip
    assert _reserved(Driver()) == {}, "nothing asked: on the head"


def test_a_pipeline_that_asks_for_it_ends_with_the_promotion_that_the_rule_allows(
    submitter: Submitter, add: Callable[..., str], ledger: Ledger, runs: Runs
) -> None:
    stages = ("prepare", "pretrain", "evaluate", "register")
    unjudged, judged = add(*stages), add(*stages, name="judged")
    for pipeline in (unjudged, judged):
        ledger.set_pipeline(pipeline, config={**ledger.get(pipeline).config, "promote": True}, owner="anna")
    row = until_ended(submitter, unjudged)
    assert row.state == SUCCEEDED
    assert "is not promoted" in str(row.message) and "it was not judged on svm" in str(row.message)
    row = until_ended(submitter, judged)
    champion = runs.client.get_model_version_by_alias("adacrossnet-tiny", "champion")
    assert (row.state, champion.tags["pipeline"], champion.tags["promoted.by"]) == (SUCCEEDED, judged, "anna")
    assert str(row.message).startswith(f"adacrossnet-tiny/{champion.version} is champion")


def test_a_stage_over_its_time_is_stopped_and_fails_with_the_limits_name(
    submitter: Submitter, add: Callable[..., str], ledger: Ledger
) -> None:
    pipeline = add("pretrain", epochs=60)
    config = ledger.get(pipeline).config
    ledger.set_pipeline(pipeline, config={**config, "limits": {**config["limits"], "stage_hours": 0.001}})
    row = until_ended(submitter, pipeline)
    assert row.state == FAILED
    assert row.message == "pretrain: it ran longer than limits.stage_hours (0.001 h) and was stopped"
    assert row.stages[0].attempts[0].cause == "time limit"


def test_the_lease_of_a_machine_that_is_gone_is_taken_over_within_half_a_minute(ledger: Ledger, submitter: Submitter) -> None:
    assert LEASE_S <= 29
    assert ledger.leases.acquire(SHARED, "another-machine:boot:12:34", 3.0)
    since = time.monotonic()
    assert submitter.tick() is False
    while not submitter.tick():
        assert time.monotonic() - since < 10
        time.sleep(0.2)
    assert time.monotonic() - since >= 2.5, "a lease that may be a living one's is not taken"


def test_a_long_step_keeps_the_lease_and_one_that_hangs_loses_it(ledger: Ledger, submitter: Submitter, monkeypatch: Any) -> None:
    monkeypatch.setattr("service.submitter.LEASE_S", 0.8)
    monkeypatch.setattr("service.submitter.STEP_S", 2.0)
    held: list[bool] = []

    def long(_active: object) -> list[Pipeline]:
        for _ in range(10):
            time.sleep(0.4)
            held.append(ledger.leases.holder(SHARED) == submitter.holder)
        return []

    monkeypatch.setattr(submitter._admission, "admit", long)
    stops = iter([False, True])
    rounds(submitter, lambda: next(stops))
    assert held[:4] == [True] * 4, "four leases long"
    assert held[-1] is False


def test_a_living_submitters_lease_holds_and_a_dead_ones_is_taken_over_at_once(ledger: Ledger, home: Home, submitter: Submitter) -> None:
    code = (
        "import sys, time; from pathlib import Path; from service.home import Home; from service.ledger import Ledger\n"
        "from service.submitter import Submitter\n"
        "home = Home(Path(sys.argv[1])); print(Submitter(Ledger(home.ledger_url), home).acquire(), flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(home.path)], env=environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        assert submitter.tick() is False
        assert f":{other.pid}:" in str(living_holder(ledger, SHARED))
    finally:
        other.kill()
        other.communicate()
    assert submitter.tick() is True


def test_a_cluster_that_went_away_fails_the_pipeline_after_a_while_and_its_records_are_closed_when_mlflow_is_seen_again(
    ledger: Ledger, home: Home, add: Callable[..., str], runs: Runs
) -> None:
    pipeline = add("pretrain", epochs=1)
    impatient = Submitter(ledger, home, patience=0.5)
    impatient.tick()
    assert ledger.get(pipeline).state == RUNNING
    ledger.set_pipeline(pipeline, cluster="http://127.0.0.1:9")  # nobody listens there
    try:
        row = until_ended(impatient, pipeline, 20)
        assert row.state == FAILED
        assert "http://127.0.0.1:9 does not answer" in str(row.message)
        impatient.tick()
        row = ledger.get(pipeline)
        assert not row.records_open
        assert [runs.status(str(run)) for run in (row.run_id, row.stages[0].run_id)] == ["FAILED", "FAILED"]
    finally:
        impatient.release()


@pytest.mark.soak
def test_the_job_of_a_pipeline_that_was_given_up_is_stopped_while_mlflow_is_away_and_reopening_starts_another(
    ledger: Ledger,
    home: Home,
    add: Callable[..., str],
    runs: Runs,
    shared: tuple[Home, LocalCluster],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = add("pretrain", epochs=60)
    submitter = Submitter(ledger, home)
    endpoint = resolve(UP, EMBEDDED, home)
    assert endpoint is not None
    try:
        while ran(ledger.get(pipeline)) != ["pretrain"]:
            submitter.tick()
            time.sleep(0.1)
        ledger.set_pipeline(pipeline, tracking="http://127.0.0.1:9")  # nobody listens there
        submitter.give_up(ledger.get(pipeline), "MLflow does not answer")
        stage = ledger.get(pipeline).stages[0]
        assert (stage.state, stage.message) == (FAILED, "MLflow does not answer")
        until = time.monotonic() + 60
        while ledger.get(pipeline).stages[0].attempts[0].state == RUNNING and time.monotonic() < until:
            submitter.tick()
            time.sleep(0.1)
        job = submitter.clients(endpoint)[0].job(f"{pipeline}-pretrain-1")
        assert job is not None
        assert (job.status, ledger.get(pipeline).records_open) == ("STOPPED", True)
        asked: list[str] = []
        with monkeypatch.context() as watched:
            watched.setattr(Reconciler, "advance", lambda _, row, *__: asked.append(row.id))
            submitter.tick()
        assert pipeline not in asked, "an MLflow that is away is not asked in every round"

        ledger.set_pipeline(pipeline, tracking=EMBEDDED)
        Submitter(ledger, home).tick()
        row = ledger.get(pipeline)
        assert (row.state, row.records_open, row.message) == (FAILED, False, "MLflow does not answer")
        assert [runs.status(str(run)) for run in (row.run_id, row.stages[0].run_id)] == ["FAILED", "FAILED"]
        ledger.set_pipeline(pipeline, config={**row.config, "pretrain": {**row.config["pretrain"], "epochs": 1}})
        reopen(row, Hold(Target(UP, EMBEDDED), endpoint, None), ledger, home)
        row = until_ended(submitter, pipeline)
        assert (row.state, [one.state for one in row.stages[0].attempts]) == (SUCCEEDED, [STOPPED, SUCCEEDED])
    finally:
        submitter.release()


def test_a_job_that_ended_well_after_its_pipeline_was_given_up_is_taken_when_that_is_reopened(
    submitter: Submitter, ledger: Ledger, home: Home, add: Callable[..., str]
) -> None:
    pipeline = add("pretrain", epochs=1)
    endpoint = resolve(UP, EMBEDDED, home)
    assert endpoint is not None
    submitter.tick()
    jobs = submitter.clients(endpoint)[0]
    submitter.give_up(ledger.get(pipeline), "the cluster does not answer")
    while (job := jobs.job(f"{pipeline}-pretrain-1")) is None or job.status != "SUCCEEDED":
        time.sleep(0.1)
    submitter.tick()
    reopen(ledger.get(pipeline), Hold(Target(UP, EMBEDDED), endpoint, None), ledger, home)
    row = until_ended(submitter, pipeline)
    assert (row.state, [one.state for one in row.stages[0].attempts], ran(row)) == (SUCCEEDED, [SUCCEEDED], ["pretrain"])


def test_what_a_running_job_has_printed_is_kept_before_its_cluster_goes(
    submitter: Submitter, ledger: Ledger, home: Home, add: Callable[..., str], shared: tuple[Home, LocalCluster]
) -> None:
    pipeline = add("pretrain", epochs=60)
    log, until = home.log(pipeline, "pretrain", 1), time.monotonic() + 60
    while not (log.exists() and "pretrain: epoch 1/60" in log.read_text()) and time.monotonic() < until:
        submitter.tick()
        keep_logs(ledger, home)
        time.sleep(0.3)
    assert "pretrain: epoch 1/60" in log.read_text()
    submitter.release()
    assert cancel(ledger.get(pipeline), ledger, home).state == CANCELLED


def test_a_pipeline_whose_cluster_is_down_says_what_makes_it_go_on_and_is_cancelled_at_once(
    tmp_path: Path, config: Callable[..., Config]
) -> None:
    home = Home(tmp_path / "home")
    ledger = Ledger(home.ledger_url)
    ledger.add("p-1", "p", json.loads(config().to_json()), ("pretrain",), UP, EMBEDDED)
    ledger.start_attempt(ledger.get("p-1").stages[0])
    ledger.set_pipeline("p-1", state=RUNNING)
    assert standstill(ledger, home, ledger.get("p-1")) == "its cluster is down: it goes on at the next `adacrossnet up`"
    for command in (["show", "p-1"], ["list"], ["status"]):
        said = subprocess.run(
            [sys.executable, "-m", "service.cli", *command, "--state", str(home.path)], env=environment(), capture_output=True, text=True
        )
        assert "its cluster is down: it goes on at the next" in said.stdout, said.stderr
        assert command == ["status"] or "interrupted" in said.stdout
    patience = 3600.0  # far beyond any test: it is not waited for
    row = cancel(ledger.get("p-1"), ledger, home, seconds=patience)
    assert (row.state, row.message) == (CANCELLED, "cancelled on request while its cluster was down")
    assert row.records_open, "MLflow is told when it is seen again"
    ledger.close()


def test_a_pipeline_without_a_submitter_says_what_starts_one(
    submitter: Submitter, ledger: Ledger, home: Home, add: Callable[..., str]
) -> None:
    row = ledger.get(add("prepare"))
    assert standstill(ledger, home, row) == "no submitter is alive, so it waits: `adacrossnet up` starts one"
    row = until_ended(submitter, row.id)
    assert (row.state, standstill(ledger, home, row)) == (SUCCEEDED, None)
