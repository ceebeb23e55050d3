"""Raw shapes to a registered encoder through the command: two workers, real Ray, real MLflow."""
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch

from jobs.config import names
from jobs.data.loading import evaluation_clouds
from jobs.data.prepared import PreparedDataset
from jobs.evaluation.features import encode_with
from jobs.models.tables import build_backbone
from jobs.pretraining import checkpoint
from tests.pipeline.command import TINY, Adacrossnet, processes_of

EVALUATIONS = """
evaluations:
  - {task: fewshot, ways: [3], shots: [2], queries: 3, episodes: 4}
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Adacrossnet, str]:
    command = Adacrossnet(tmp_path_factory.mktemp("whole"))
    return command, command("run", str(command.config(TINY + EVALUATIONS)))


def test_the_summary_holds_what_the_table_shows(done: tuple[Adacrossnet, str]) -> None:
    command, said = done
    summary = command.summary
    assert list(summary["stages"]) == ["prepare", "pretrain", "evaluate", "register", "fewshot"]
    for encoder in ("trained", "random"):
        for split in ("val", "test"):
            scores = summary["scores"][encoder][split]
            assert all(0 <= scores[metric] <= 1 for metric in ("accuracy", "balanced_accuracy"))
            assert f"{scores['balanced_accuracy']:.3f}" in said
    fewshot = summary["evaluations"]["fewshot"]["scores"]
    assert f"{fewshot['trained']['3way_2shot_accuracy']:.3f}" in said and f"{fewshot['random']['3way_2shot_accuracy']:.3f}" in said
    assert summary["loss"]["after"] < summary["loss"]["before"]
    assert 0.5 < summary["weights"]["intra"] < 1
    assert summary["clouds_per_s"] > 0
    assert summary["model"] == {"name": "adacrossnet-dgcnn", "version": "1"}
    assert {Path(path).stem for path in summary["pictures"]} >= {"losses", "weights", "learning_rate", "features", "clouds", "confusion"}
    for path in summary["pictures"]:
        assert (command.folder / path).read_bytes().startswith(b"\x89PNG"), path


def test_nothing_that_the_command_started_is_left(done: tuple[Adacrossnet, str]) -> None:
    assert processes_of(done[0].folder) == []


def test_mlflow_holds_one_finished_run_a_stage_and_each_step_once(done: tuple[Adacrossnet, str]) -> None:
    command, _ = done
    runs = command.stage_runs(command.summary["pipeline"])
    assert set(runs) == {"pipeline", "prepare", "pretrain", "evaluate", "register", "fewshot"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    client, pretrain = command.tracking(), runs["pretrain"]
    steps = [point.step for point in client.get_metric_history(pretrain.info.run_id, names.LOSS)]
    assert sorted(steps) == list(range(1, len(steps) + 1))
    assert len(client.get_metric_history(pretrain.info.run_id, names.VALIDATION_SCORE)) == 3
    for run in (runs["pipeline"], pretrain):
        assert (run.data.params["pretrain.epochs"], run.data.params["data.kind"]) == ("3", "synthetic")
    for tag in (names.TAG_PIPELINE, names.TAG_STAGE, names.TAG_RAY_JOB, names.TAG_CODE, names.TAG_DATA, names.TAG_CONFIG):
        assert pretrain.data.tags[tag]
    source = client.get_model_version("adacrossnet-dgcnn", "1").source
    judged = client.get_logged_model(source.removeprefix("models:/"))
    metrics = {metric.key: metric for metric in judged.metrics}
    test = command.summary["scores"]["trained"]["test"]
    assert metrics["svm/synthetic/balanced_accuracy"].value == pytest.approx(test["balanced_accuracy"])
    assert metrics["svm/synthetic/balanced_accuracy"].dataset_digest == runs["prepare"].data.tags[names.TAG_DATA]


def test_storage_keeps_the_last_two_checkpoints_and_the_best(done: tuple[Adacrossnet, str]) -> None:
    command, _ = done
    folder = command.folder / "runs/storage/pretrain" / command.summary["pipeline"]
    kept = sorted(path.name.split("-")[1] for path in folder.glob("epoch-*"))
    assert kept == ["00002", "00003"]
    assert checkpoint.fault(folder / "best") is None


def test_the_candidate_embeds_like_the_best_checkpoint(done: tuple[Adacrossnet, str]) -> None:
    command, _ = done
    data = next(path for path in (command.folder / "runs/storage/data").iterdir() if path.is_dir())
    command("embed", "models:/adacrossnet-dgcnn@candidate", str(data), "features.parquet")
    table = pyarrow.parquet.read_table(command.folder / "features.parquet")
    dataset = PreparedDataset(data, None)
    assert table.column("id").to_pylist() == dataset.ids
    described = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    version = command.tracking().get_model_version_by_alias("adacrossnet-dgcnn", "candidate")
    assert described == {
        "model": f"models:/adacrossnet-dgcnn/{version.version}",
        "model_id": version.source.removeprefix("models:/"),
        "points": "48",  # those it was judged on
        "source": str(data),
        "source_digest": dataset.manifest["digest"],
    }
    encoder = build_backbone("dgcnn", k=4)
    best = command.folder / "runs/storage/pretrain" / command.summary["pipeline"] / "best"
    encoder.load_state_dict(checkpoint.encoder_weights(best))
    encode = encode_with(encoder, torch.device("cpu"))
    expected = np.concatenate([encode(points_BNC.numpy()) for points_BNC, _ in evaluation_clouds(dataset, 48, 32)])
    found = np.stack(table.column("feature").to_numpy())
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_version_carries_its_signature_scores_and_protocol(done: tuple[Adacrossnet, str]) -> None:
    command, _ = done
    client = command.tracking()
    version = client.get_model_version_by_alias("adacrossnet-dgcnn", "candidate")
    test = command.summary["scores"]["trained"]["test"]["balanced_accuracy"]
    assert float(version.tags["svm/synthetic/trained.test.balanced_accuracy"]) == pytest.approx(test, abs=1e-6)
    assert version.tags["protocol.digest"]
