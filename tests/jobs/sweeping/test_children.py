"""A trial has one run in MLflow, whatever is killed and asked again."""
from pathlib import Path

from mlflow import MlflowClient

from jobs.config import names
from jobs.sweeping import children


def test_a_trials_run_is_made_once_reopened_and_closed_once(tmp_path: Path) -> None:
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.sqlite'}")
    experiment = client.create_experiment("test", artifact_location=str(tmp_path / "artifacts"))
    parent = client.create_run(experiment, tags={names.TAG_PIPELINE: "p", names.TAG_CODE: "c"}).info.run_id
    run = children.child(client, parent, "search-famo-1", {"strategy": "famo", "rate": 0.1}, "digest")
    other = children.child(client, parent, "search-famo-2", {"strategy": "famo"}, "digest")
    assert children.child(client, parent, "search-famo-1", {"strategy": "famo", "rate": 0.1}, "digest") == run != other
    found = client.get_run(run)
    assert found.data.params == {"strategy": "famo", "rate": "0.1"}
    assert {found.data.tags[key] for key in (names.TAG_PIPELINE, names.TAG_CODE, names.TAG_CONFIG)} == {"p", "c", "digest"}

    children.close(client, parent, "search-famo-1", children.STOPPED)
    ended = client.get_run(run).info
    assert ended.status == "FINISHED"
    children.close(client, parent, "search-famo-1", children.STOPPED)
    assert client.get_run(run).info.end_time == ended.end_time
    children.close(client, parent, "search-famo-2", children.FAILED, "it diverged")
    failed = client.get_run(other)
    assert (failed.info.status, failed.data.tags["error"], failed.data.tags[children.OUTCOME]) == ("FAILED", "it diverged", "failed")
    children.close(client, parent, "nobody", children.DONE)  # a trial that died before it spoke has no run
    assert children.find(client, parent, "nobody") is None
