"""Further evaluations of a pipeline, trained with Ray Train on two workers; one of them is killed."""
import json
import re
from pathlib import Path

import pytest

from tests.pipeline.command import TINY, Adacrossnet, processes_of, wait_for, with_title

EVALUATIONS = """
evaluations:
  - {task: finetune, fractions: [0.5, 1.0], epochs: 2, batch: 15, lr: 0.02}
  - {task: parts, epochs: 60, batch: 15, lr: 0.05}
"""

SUITE = """
name: tiny-suite
suite: {model: models:/adacrossnet-pointnet@candidate}
data: {kind: synthetic, shapes: 160, points: 64, views: 1, image_size: 32}
evaluate: {points: 48, fixed_c: 0.02}
evaluations_at_once: 2
evaluations:
  - {task: svm}
  - {task: fewshot, ways: [2], shots: [2], queries: 3}
  - {task: scenes, data: {kind: synthetic-rooms, rooms: 12, points: 96, stride: 1.0}, epochs: 2, batch: 16}
cluster: {workers: 1, cpus_per_worker: 1, min_free_gb: 0.1}
"""

pytestmark = pytest.mark.soak


def test_supervised_stages_train_from_the_registered_encoder_and_survive_a_killed_worker(tmp_path: Path) -> None:
    command, log = Adacrossnet(tmp_path), tmp_path / "out.log"
    process = command.start("run", str(command.config(TINY.replace("{name: dgcnn, k: 4}", "{name: pointnet}") + EVALUATIONS)), log=log)
    wait_for(log, r"parts .*trained: epoch \d+/60", timeout=420)
    with_title(tmp_path, "RayTrainWorker")[0].kill()
    assert process.wait(timeout=500) == 0, log.read_text()
    assert processes_of(tmp_path) == []
    summary = command.summary
    assert list(summary["stages"]) == ["prepare", "pretrain", "evaluate", "register", "finetune", "parts"]
    said = "".join(path.read_text() for path in (tmp_path / "runs/latest/logs").glob("parts-*.log"))
    assert re.search(r"resuming after epoch \d+/60", said)
    client = command.tracking()
    version = client.get_model_version("adacrossnet-pointnet", "1")
    for task, metric in (("finetune", "accuracy_100pct"), ("parts", "instance_miou")):
        facts = summary["evaluations"][task]
        for side in ("trained", "random"):
            value = facts["scores"][side][metric]
            assert 0 < value < 1 and f"{value:.3f}" in log.read_text()
            assert float(version.tags[f"{task}/synthetic/{side}.{metric}"]) == pytest.approx(value, abs=1e-6)
    drawn = {Path(path).stem for path in summary["pictures"]}
    assert drawn >= {"finetune_learning_curves", "parts_learning_curves", "parts_gallery", "finetune_label_fractions"}
    shown = json.loads(command("show", summary["pipeline"], "--json"))
    assert [stage["state"] for stage in shown["stages"]] == ["succeeded"] * 6

    suite = tmp_path / "suite.yaml"
    suite.write_text(SUITE)
    said = command("evaluate", "adacrossnet-pointnet/9", "--task", "suite", "--config", str(suite), code=1)
    assert "there is no adacrossnet-pointnet/9: name models:/NAME@ALIAS" in said
    said = command("run", str(suite))
    assert re.search(r"Scores of adacrossnet-pointnet version 1\b", said)
    found = command.summary["evaluations"]
    assert list(command.summary["stages"]) == ["prepare", *found] == ["prepare", "svm", "fewshot", "scenes"]
    assert found["svm"]["protocol"]["fixed_c"] == 0.02 and found["scenes"]["protocol"]["points"] == 96
    tags = client.get_model_version("adacrossnet-pointnet", "1").tags
    for task, dataset, score in (("svm", "synthetic", "trained.test.accuracy"), ("scenes", "synthetic-rooms", "trained.voted_miou")):
        assert 0 < float(tags[f"{task}/{dataset}/{score}"]) <= 1
        assert client.get_run(tags[f"{task}/{dataset}/run"]).info.status == "FINISHED"
    assert {"svm_confusion", "scenes_rooms", "scenes_confusion"} <= {Path(path).stem for path in command.summary["pictures"]}
    assert processes_of(tmp_path) == []

    data = str(prepared_shapes(tmp_path))
    one = ("evaluate", "models:/adacrossnet-pointnet@candidate", "--data", data, "--task", "finetune", "--set", "epochs=1")
    assert "--set seed=3" in command(*one, "--seed", "3", code=1)
    command(*one, "--set", "batch=15", "--set", "lr=0.02", "--set", "cluster.workers=2", "--set", "cluster.threads_per_worker=1")
    facts = command.summary["evaluations"]["finetune"]
    assert facts["protocol"]["points"] == 48 and facts["protocol"]["batch"] == 15, "the points that it was judged on"
    assert processes_of(tmp_path) == []


def prepared_shapes(folder: Path) -> Path:
    return next(path.parent for path in (folder / "runs/storage/data").glob("synthetic-*/manifest.json") if "rooms" not in path.parent.name)
