"""Datasets in a real S3-compatible store: prepared to it, verified there, read and trained on as from disk; and its faults, a line each."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from cluster.ports import free_ports
from jobs.config import check, check_data, names
from jobs.data.prepared import PreparedDataset
from jobs.prepare import prepare
from jobs.pretraining.loop import run
from jobs.pretraining.ranks import ALONE
from jobs.training.loop import Outside
from tests.jobs.data.test_staging import everything
from tests.pipeline.command import TINY, Adacrossnet
from tests.s3 import BUCKET, Store, s3_server

pytestmark = pytest.mark.soak
ROOT = Path(__file__).resolve().parents[3]
SECTION = {"kind": "synthetic", "shapes": 160, "points": 64, "views": 1, "image_size": 32, "shard_rows": 16}
THERE = f"s3://{BUCKET}/sets/small"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with s3_server(tmp_path_factory.mktemp("s3")) as found:
        yield found


@pytest.fixture
def environment(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a person sets, in this process too; the cache is empty."""
    given = {key: value for key, value in store.environment.items() if key.startswith("AWS_")}
    given |= {"AWS_ENDPOINT_URL": store.url, names.ENV_CACHE: str(tmp_path / "cache")}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return given


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("local")
    prepare(check_data({**SECTION, "target": str(folder)}, "test"), say=lambda line: None, parallel=False)
    return folder


@pytest.fixture
def there(environment: dict[str, str], local: Path) -> str:
    """The same in the store."""
    prepare(check_data({**SECTION, "target": THERE}, "test"), say=lambda line: None, parallel=False)
    return THERE


def test_the_commands_prepare_verify_list_and_show_there(environment: dict[str, str], local: Path, tmp_path: Path, store: Store) -> None:
    command, target = Adacrossnet(tmp_path), f"s3://{BUCKET}/commands/small"
    options = [word for key in list(SECTION)[1:] for word in (f"--{key.replace('_', '-')}", str(SECTION[key]))]
    assert f"{target}: " in command("data", "prepare", "synthetic", "-", target, *options)
    assert "all files are there" in command("data", "prepare", "synthetic", "-", target, *options)
    assert f"verify: {target}: whole." in command("data", "verify", target)
    (row,) = json.loads(command("data", "list", f"s3://{BUCKET}/commands", "--json").strip().splitlines()[-1])
    assert row["folder"] == target and row["digest"] == PreparedDataset(local, None).manifest["digest"]
    assert "takes no picture" in command("data", "show", target, code=1)
    command("data", "show", target, "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    files = store.filesystem()
    for path in local.iterdir():
        assert files.open_input_stream(f"{BUCKET}/commands/small/{path.name}").read() == path.read_bytes()
    shard = f"{BUCKET}/commands/small/shard-00002.arrow"
    data = bytearray(files.open_input_stream(shard).read())
    data[-200] ^= 255
    with files.open_output_stream(shard) as out:
        out.write(bytes(data))
    assert "shard-00002.arrow: its checksum is not the manifest's" in command("data", "verify", target, code=1)


def test_it_reads_like_the_one_on_disk(there: str, local: Path) -> None:
    assert everything(PreparedDataset(there, None)) == everything(PreparedDataset(local, None))


def _curve(target: str, folder: Path, workers: int) -> tuple[list[tuple[int, dict[str, float]]], float]:
    """(rows of metrics, seconds) of a training from `target`."""
    values: dict[str, Any] = {
        "data": {"kind": "prepared", "target": target},
        "pretrain": {
            "backbone": {"name": "dgcnn", "k": 4}, "image": {"tower": "resnet18", "size": 32}, "epochs": 2, "batch": 16, "points": 48,
            "loader_workers": workers, "log_every": 1,
        },
        "evaluate": {"points": 48},
    }  # fmt: skip
    rows: list[tuple[int, dict[str, float]]] = []
    outside = Outside(report=lambda *_: None, log=rows.extend, say=lambda line: None)
    start = time.perf_counter()
    run(check(values, "test").resolved(folder), PreparedDataset(target, "train"), ALONE, outside, None)
    return rows, time.perf_counter() - start


@pytest.mark.parametrize("workers", [0, 2])  # 2: processes that are forked from one that uses the store's client
def test_a_pretraining_from_there_gives_the_losses_of_one_from_disk(there: str, local: Path, tmp_path: Path, workers: int) -> None:
    disk, _ = _curve(str(local), tmp_path, workers)
    staged, _ = _curve(there, tmp_path, workers)
    assert len(disk) == 10
    for (step, one), (other_step, other) in zip(disk, staged, strict=True):
        assert step == other_step
        assert {**one, names.CLOUDS_PER_S: 0} == {**other, names.CLOUDS_PER_S: 0}


FORKED = """
import os, sys
from jobs.data.prepared import PreparedDataset
dataset = PreparedDataset(sys.argv[1], None)
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if len(dataset.points(0)) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
print("read")
"""


def _told(code: str, target: str, environment: dict[str, str], **changed: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment, **changed}
    return subprocess.run([sys.executable, "-c", code, target], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)


def test_a_forked_child_reads_what_is_not_here_yet(there: str, environment: dict[str, str]) -> None:
    assert _told(FORKED, there, environment).stdout == "read\n"


def test_a_missing_bucket_wrong_credentials_and_no_network_are_said_in_one_line_each(
    there: str, environment: dict[str, str], store: Store, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    command = Adacrossnet(tmp_path)

    def line(target: str, **changed: str) -> str:
        command.environment = {**environment, **changed}
        said = command("data", "verify", target, code=1).strip().splitlines()
        assert len([one for one in said if "fault" not in one]) <= 1, said
        return " ".join(said)

    assert "there is no bucket s3://nobody" in line("s3://nobody/a")
    assert f"s3://{BUCKET}/nothing holds no manifest.json" in line(f"s3://{BUCKET}/nothing")
    assert f"the store does not answer at http://127.0.0.1:{port}" in line(there, AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}")
    assert "the store does not answer at http://nohost.invalid:80" in line(there, AWS_ENDPOINT_URL="http://nohost.invalid:80")
    assert "AWS_ENDPOINT_URL is localhost" in line(there, AWS_ENDPOINT_URL="localhost")
    requests.post(f"{store.url}/moto-api/reset-auth", data="0", timeout=30)  # from now on it looks at credentials
    try:
        assert "the store refuses it" in line(there) and "check the credentials" in line(there)
        command.environment = environment
        text = TINY.replace("image_size: 32}", f"image_size: 32}}\nprobe: {{kind: prepared, target: {there}}}")
        refused = command("run", str(command.config(text)), code=1)
        assert "probe.target" in refused and "check the credentials" in refused  # before anything is queued
    finally:
        requests.post(f"{store.url}/moto-api/reset-auth", data="inf", timeout=30)


def test_a_whole_pipeline_runs_on_a_dataset_there(environment: dict[str, str], tmp_path: Path, local: Path) -> None:
    """Prepared by Ray tasks, trained on two ranks, judged; with the losses of the same pipeline on a folder."""
    target, losses = f"s3://{BUCKET}/pipeline/made", []
    for place in (target, str(tmp_path / "made")):
        command = Adacrossnet(tmp_path / str(len(losses)), environment)
        command.folder.mkdir()
        text = TINY.replace("image_size: 32}", f"image_size: 32, shard_rows: 16, target: {place}}}").replace("epochs: 3", "epochs: 1")
        command("run", str(command.config(text)))
        client = command.tracking()
        run = command.stage_runs(command.summary["pipeline"])["pretrain"]
        losses.append([point.value for point in sorted(client.get_metric_history(run.info.run_id, "train/loss"), key=lambda one: one.step)])
    assert len(losses[0]) == 5
    np.testing.assert_array_equal(losses[0], losses[1])
    held = [path for path in (tmp_path / "cache").iterdir() if not path.suffix]
    assert len(held) == 11  # ten shards and the index, on a node whose processes share them
