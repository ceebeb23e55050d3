"""The written rule, on tags alone; and the commands over MLflow's own store."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from service.promotion import Rule, deciding, judge, read_rule, scores_of

RULE = Rule(required=["svm"], margin=0.01, better=0.005)
PROTOCOL = {"dataset": "modelnet40", "variant": "v", "digest": "d1", "points": "1024", "c": "1.0", "classifier": "linear SVC"}


def tags(val: float = 0.8, test: float = 0.9, parts: float | None = None, **protocol: str) -> dict[str, str]:
    found = {"svm/modelnet40/trained.val.balanced_accuracy": f"{val}", "svm/modelnet40/trained.test.balanced_accuracy": f"{test}"}
    found |= {"svm/modelnet40/random.val.balanced_accuracy": "0.5", "pipeline": "p", "protocol.digest": "old"}
    found |= {f"svm/modelnet40/protocol.{key}": value for key, value in {**PROTOCOL, **protocol}.items()}
    if parts is not None:
        found |= {"parts/shapenetpart/trained.val_instance_miou": f"{parts}", "parts/shapenetpart/protocol.digest": "d2"}
    return found


def test_only_validation_scores_of_the_trained_encoder_decide() -> None:
    assert deciding(scores_of(tags(parts=0.7))) == {
        "svm/modelnet40/val.balanced_accuracy": 0.8, "parts/shapenetpart/val_instance_miou": 0.7,
    }  # fmt: skip
    worse_test, better_test = tags(val=0.82, test=0.1), tags(val=0.79, test=0.99)
    assert judge(worse_test, tags(), RULE).promote and not judge(better_test, tags(), RULE).promote


def test_without_a_champion_the_required_scores_are_enough_and_needed() -> None:
    assert judge(tags(), None, RULE).promote
    verdict = judge({"pipeline": "p"}, None, RULE)
    assert not verdict.promote and "was not judged on svm" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("candidate", "promotes", "reason"),
    [
        (tags(val=0.81), True, "better on svm/modelnet40/val.balanced_accuracy +0.0100"),
        (tags(val=0.804), False, "nowhere is it more than 0.005 better"),
        (tags(val=0.785, parts=0.9), False, "svm/modelnet40/val.balanced_accuracy is 0.0150 worse, more than the margin 0.01"),
        (tags(val=0.795, parts=0.8), True, "better on parts/shapenetpart/val_instance_miou +0.1000"),
        (tags(val=0.9, points="2048"), False, "cannot be compared with the champion's (other points)"),
        (tags(val=0.9, digest="d9"), False, "cannot be compared with the champion's (other digest)"),
        (tags(val=0.9, c="100.0"), True, "better on"),  # C is what the protocol found, not what it is
        ({key: value for key, value in tags(val=0.9).items() if "/protocol." not in key}, False, "(other classifier, dataset, digest"),
    ],
)
def test_the_rule(candidate: dict[str, str], promotes: bool, reason: str) -> None:
    verdict = judge(candidate, tags(parts=0.7), RULE)
    assert verdict.promote == promotes
    assert any(reason in one for one in verdict.reasons), verdict.reasons


def test_a_rule_is_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "rule.yaml"
    for text, reason in (
        ("required: [svm]\nmargins: 1", "margins: Extra inputs"), ("required: [svn]", "there is no task 'svn'"),
        ("margin: 0.1", "required"), ("required: []", "at least 1"), ("a: [", "is not YAML"),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(ValueError, match=reason):
            read_rule(path)
    with pytest.raises(ValueError, match="there is no rule"):
        read_rule(tmp_path / "none.yaml")
    assert read_rule(Path(__file__).parents[2] / "configs" / "promotion.yaml").required == ["svm"]


@pytest.mark.soak  # a dozen commands
def test_promotion_keeps_the_old_champion_records_itself_and_can_be_taken_back(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.sqlite'}"
    client = MlflowClient(uri)
    name = "adacrossnet-dgcnn"
    client.create_registered_model(name)
    run = client.create_run(client.create_experiment("e", artifact_location=(tmp_path / "artifacts").as_uri())).info.run_id
    for one in (tags(val=0.8), tags(val=0.805), tags(val=0.85)):
        client.create_model_version(name, f"file://{tmp_path}", run, tags=one)
    rule = Path(__file__).parents[2] / "configs" / "promotion.yaml"

    def call(*arguments: str, code: int = 0) -> str:
        environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "ADACROSSNET_HOME": str(tmp_path / "runs")}
        command = [str(Path(sys.executable).parent / "adacrossnet"), "models", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    assert f"{name}/1 is champion" in call("promote", f"{name}/1", "--rule", str(rule))
    refused = call("promote", f"{name}/2", "--rule", str(rule), code=1)
    assert f"is not promoted, {name}/1 stays champion" in refused and "nowhere is it more than 0.005 better" in refused
    assert f"{name}/3 is champion; {name}/1 is previous" in call("promote", f"{name}/3", "--rule", str(rule))
    assert "say why with --reason" in call("promote", f"{name}/2", "--rule", str(rule), "--force", code=1)
    assert "against the rule" in call("promote", f"{name}/2", "--rule", str(rule), "--force", "--reason", "a demonstration")
    forced = client.get_model_version(name, "2").tags
    assert "worse, more than the margin" in forced["promoted.forced"] and forced["promoted.why"].startswith("a demonstration; ")
    assert forced["promoted.over"] == "3" and forced["promoted.by"] and forced["promoted.at"]
    assert client.get_model_version(name, "3").tags["promoted.forced"] == "no"
    assert f"{name}/3 is champion again; {name}/2 is previous" in call("rollback", name, "--reason", "it was a demonstration")
    aliases = client.get_registered_model(name).aliases
    assert {alias: str(version) for alias, version in aliases.items()} == {"champion": "3", "previous": "2"}

    listed = json.loads(call("list", "--json"))
    assert [one["version"] for one in listed] == ["3", "2", "1"] and listed[0]["aliases"] == ["champion"]
    shown = call("show", f"{name}@champion")
    assert "svm/modelnet40/val.balanced_accuracy" in shown and "linear SVC" in shown
    compared = json.loads(call("compare", f"{name}/1", f"{name}/3", "--json"))
    row = next(one for one in compared if one["score"] == "svm/modelnet40/val.balanced_accuracy")
    assert row["difference"] == pytest.approx(0.05) and row["decides"]
    assert "test: must not choose" in call("compare", f"{name}/1", f"{name}/3")
    assert "no such registered version" in call("show", f"{name}/9", code=1)
