"""Nodes that go and come while a training goes on: it goes on with those there are, and with the same numbers.

Real nodes of Ray on this machine, a CPU each, and the stage's driver as a process.
"""
from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from ray.cluster_utils import Cluster

from jobs.config import Pipeline, check, check_data, names
from jobs.data.prepared import PreparedDataset
from jobs.prepare import prepare
from jobs.pretraining.loop import run
from jobs.pretraining.ranks import ALONE
from jobs.training.loop import Outside
from service.job_environment import ray_train
from tests.pipeline.command import wait_for

ROOT = Path(__file__).resolve().parents[2]
KEYS = (names.LOSS, names.LOSS_INTRA, names.LOSS_CROSS, names.WEIGHT_INTRA, names.LEARNING_RATE)
STEPS, EPOCHS = 28, 5

pytestmark = [
    pytest.mark.soak,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),  # Ray's own test cluster
]


def config_of(data: Path, storage: Path, workers: dict[str, float]) -> Pipeline:
    """DGCNN in float64, whose curve is the same to 1e-7 on any number of ranks."""
    values = {
        "data": {"kind": "prepared", "target": str(data)},
        "pretrain": {
            "backbone": {"name": "dgcnn", "k": 6},
            "image": {"tower": "resnet18", "size": 32},
            "weighting": {"name": "adacrossnet", "alpha": 5.0, "beta": 0.9},
            "optimizer": {"lr": 1e-4, "clip_norm": 5.0, "warmup": 3},
            "precision": "float64",
            "epochs": EPOCHS,
            "batch": 10,
            "points": 32,
            "loader_workers": 0,
            "log_every": 1,
            "validate_every": EPOCHS,
        },
        "evaluate": {"points": 32},
        "cluster": {"workers": workers, "storage": str(storage), "min_free_gb": 0.1},
    }
    return check(values, "test").resolved(storage)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    section = {"kind": "synthetic", "shapes": 560, "points": 48, "views": 1, "image_size": 32, "target": str(folder)}
    prepare(check_data(section, "test"), say=lambda line: None, parallel=False)
    assert len(PreparedDataset(folder, "train")) // 10 == STEPS
    return folder


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, float]]:
    """The curve of one worker that nothing disturbs: step -> metrics."""
    curve: dict[int, dict[str, float]] = {}
    outside = Outside(lambda metrics, write, validated: None, lambda rows: curve.update(dict(rows)), lambda line: None)
    torch.set_num_threads(1)
    config = config_of(data, tmp_path_factory.mktemp("alone"), {"min": 1, "max": 1})
    run(config, PreparedDataset(data, "train"), ALONE, outside, None)
    return curve


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head without CPUs."""
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 100_000_000})
    yield found
    found.shutdown()


@dataclass
class Stage:
    """The pretraining's driver on a cluster."""

    cluster: Cluster
    folder: Path
    client: MlflowClient
    run_id: str
    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(cls, cluster: Cluster, config: Pipeline, folder: Path) -> Stage:
        uri = f"sqlite:///{folder / 'mlflow.sqlite'}"
        client = MlflowClient(uri)
        experiment = client.create_experiment("elastic", artifact_location=str(folder / "artifacts"))
        run_id = client.create_run(experiment).info.run_id
        environment = os.environ | ray_train(config.model_dump(mode="json")["cluster"]) | {
            "RAY_ADDRESS": cluster.address,
            "MLFLOW_TRACKING_URI": uri,
            "MLFLOW_RUN_ID": run_id,
            "PYTHONUNBUFFERED": "1",
            names.ENV_CONFIG: config.to_json(),
            names.ENV_PIPELINE: "elastic",
        }  # fmt: skip
        log = folder / "driver.log"
        with log.open("wb") as out:
            process = subprocess.Popen([sys.executable, "-m", "jobs.pretrain"], cwd=ROOT, env=environment, stdout=out, stderr=out)
        return cls(cluster, folder, client, run_id, process, log)

    def curve(self) -> dict[int, dict[str, float]]:
        """What MLflow holds; AssertionError when a step stands twice."""
        found: dict[int, dict[str, float]] = {}
        for key in KEYS:
            points = self.client.get_metric_history(self.run_id, key)
            assert len({point.step for point in points}) == len(points), key
            for point in points:
                found.setdefault(point.step, {})[key] = point.value
        return found

    def goes_on(self, since: int) -> float:
        """The time of the first step that is logged after so many characters of the log."""
        until = time.monotonic() + 240
        while time.monotonic() < until:
            if re.search(r"pretrain: epoch \d+/\d+ step", self.log.read_text()[since:]):
                return time.monotonic()
            time.sleep(0.2)
        raise AssertionError(f"no further step came:\n{self.log.read_text()[since:]}")

    def ended(self) -> str:
        assert self.process.wait(timeout=400) == 0, self.log.read_text()
        return self.log.read_text()


def resumed(log: str) -> list[tuple[int, int]]:
    """(workers, step) of each start but the first."""
    starts = told(log, r"resuming after .* \(step (\d+)\) .* on (\d+) workers?")
    return [(int(workers), int(step)) for _, step, workers in starts]


def told(log: str, pattern: str) -> list[tuple[str, ...]]:
    """(process, groups of `pattern`) of each line that a process told, once: simulated nodes share a folder, and each shows all lines."""
    return list(dict.fromkeys(re.findall(rf"pid=(\d+)\)\S* pretrain: {pattern}", log)))


def same(mine: dict[int, dict[str, float]], theirs: dict[int, dict[str, float]]) -> None:
    assert sorted(mine) == sorted(theirs) == list(range(1, EPOCHS * STEPS + 1))
    for step, values in mine.items():
        for key, value in values.items():
            assert value == pytest.approx(theirs[step][key], rel=1e-6), (step, key)


def test_a_node_lost_without_notice_is_gone_on_without_and_a_new_one_is_taken(
    data: Path, alone: dict[int, dict[str, float]], cluster: Cluster, tmp_path: Path
) -> None:
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=80_000_000) for _ in range(3)]
    stage = Stage.start(cluster, config_of(data, tmp_path / "storage", {"min": 1, "max": 3, "look_every_s": 5.0}), tmp_path)
    try:
        wait_for(stage.log, r"epoch 2/\d+ step 3/")
        lost = time.monotonic()
        cluster.remove_node(nodes[0], allow_graceful=False)
        wait_for(stage.log, r"resuming after .* on 2 workers")
        again = stage.goes_on(stage.log.read_text().index("on 2 workers"))
        print(f"\nwithout notice: {again - lost:.1f} s from the loss of a node to the next step")
        assert again - lost < 70, "by default Ray Train waits 60 s for the lost node, and a start takes more than 10"
        added = time.monotonic()
        cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
        wait_for(stage.log, r"resuming after .* on 3 workers")
        print(f"a new node: {stage.goes_on(stage.log.read_text().index('on 3 workers')) - added:.1f} s until it takes part")
        log = stage.ended()
    finally:
        stage.process.kill()
    assert [workers for workers, _ in resumed(log)] == [2, 3]
    same(stage.curve(), alone)


def test_a_notice_keeps_the_very_step_and_the_training_goes_on_from_it(
    data: Path, alone: dict[int, dict[str, float]], cluster: Cluster, tmp_path: Path
) -> None:
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=80_000_000) for _ in range(2)]
    stage = Stage.start(cluster, config_of(data, tmp_path / "storage", {"min": 1, "max": 2}), tmp_path)
    try:
        wait_for(stage.log, r"epoch 2/\d+ step 3/")
        begun = time.monotonic()
        drain(cluster, nodes[0].node_id, seconds=60)
        kept = int(wait_for(stage.log, r"called away after step (\d+), which is kept")[1])
        saved = time.monotonic()
        wait_for(stage.log, r"resuming after .* on 1 worker")
        again = stage.goes_on(stage.log.read_text().index("on 1 worker"))
        print(f"\nwith notice: {saved - begun:.1f} s until step {kept} is kept, {again - begun:.1f} s until the next")
        cluster.remove_node(nodes[0], allow_graceful=False)
        log = stage.ended()
    finally:
        stage.process.kill()
    assert kept % STEPS, "in the middle of an epoch"
    assert resumed(log) == [(1, kept)]
    taken = [step for _, step in told(log, r"(epoch \d+/\d+ step \d+)/")]
    assert len(taken) == len(set(taken)) == EPOCHS * STEPS, "no step is taken twice, none is left out"
    same(stage.curve(), alone)


def drain(cluster: Cluster, node_id: str, seconds: int) -> None:
    """What tells Ray that a cloud is about to take a node away."""
    command = [str(Path(sys.executable).parent / "ray"), "drain-node", "--address", cluster.address, "--node-id", node_id]
    command += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot", "--deadline-remaining-seconds", str(seconds)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
