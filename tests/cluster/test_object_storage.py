"""A real S3-compatible server: MLflow keeps artifacts in it for clients that know no key, and Ray Train's storage reads and writes it."""
from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs
import pytest
import requests
from mlflow import MlflowClient

from cluster.ports import free_ports
from cluster.server import start, wait_until
from tests.s3 import BUCKET, Store, s3_server

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with s3_server(tmp_path_factory.mktemp("s3")) as found:
        yield found


def test_mlflow_keeps_artifacts_in_the_bucket_for_clients_without_a_key(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("boto3", reason="boto3 is not installed (the extra `tracking-server`)")
    (port,) = free_ports(1)
    command = [
        sys.executable, "-P", "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.sqlite", "--serve-artifacts",
    ]  # fmt: skip
    env = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "AWS_"))}
    env |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    # The variables of cluster/kuberay/mlflow.yaml.
    env |= store.environment | {"MLFLOW_ARTIFACTS_DESTINATION": f"s3://{BUCKET}/artifacts"}
    server = start("the MLflow server", command, env, tmp_path / "log", port, survives=False, grace=5.0)
    try:
        wait_until(server, lambda: requests.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200, 120)
        for name in store.environment:
            monkeypatch.delenv(name, raising=False)
        client = MlflowClient(f"http://127.0.0.1:{port}")
        run = client.create_run(client.create_experiment("shapes")).info.run_id
        weights = tmp_path / "encoder.safetensors"
        weights.write_bytes(os.urandom(3_000_000))
        client.log_artifact(run, str(weights), "model")
        back = Path(client.download_artifacts(run, "model/encoder.safetensors", str(tmp_path)))
        assert back.read_bytes() == weights.read_bytes()
        assert [one.path for one in client.list_artifacts(run, "model")] == ["model/encoder.safetensors"]
    finally:
        server.ask_to_stop()
        server.wait_stopped()
    stored = store.filesystem().get_file_info(pyarrow.fs.FileSelector(f"{BUCKET}/artifacts", recursive=True))
    (file,) = [one for one in stored if one.type == pyarrow.fs.FileType.File]
    assert file.path.endswith(f"{run}/artifacts/model/encoder.safetensors")
    assert file.size == 3_000_000


def test_a_checkpoint_goes_through_ray_trains_storage_and_comes_back(store: Store, tmp_path: Path) -> None:
    """As a RunConfig's storage_path and storage_filesystem reach it, without a cluster."""
    from ray.train import Checkpoint
    from ray.train._internal.storage import _upload_to_fs_path, get_fs_and_path

    local = tmp_path / "checkpoint"
    (local / "parts").mkdir(parents=True)
    (local / "state.pt").write_bytes(os.urandom(1_000_000))
    (local / "parts" / "rank-0.pt").write_bytes(b"zero")
    filesystem, path = get_fs_and_path(f"{BUCKET}/storage", store.filesystem())
    _upload_to_fs_path(str(local), filesystem, f"{path}/run/checkpoint_000001")
    with Checkpoint(f"{path}/run/checkpoint_000001", filesystem).as_directory() as there:
        assert (Path(there) / "state.pt").read_bytes() == (local / "state.pt").read_bytes()
        assert (Path(there) / "parts" / "rank-0.pt").read_bytes() == b"zero"


def test_a_url_alone_names_the_store_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """cluster.storage is text: this is what it could say."""
    from ray.train._internal.storage import get_fs_and_path

    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    filesystem, path = get_fs_and_path(f"s3://{BUCKET}/by-url?scheme=http&endpoint_override=127.0.0.1:{store.port}")
    with filesystem.open_output_stream(f"{path}/one") as out:
        out.write(b"text")
    assert store.filesystem().open_input_stream(f"{BUCKET}/by-url/one").read() == b"text"


def test_fsspecs_view_of_it_reads_and_writes(store: Store) -> None:
    from fsspec.implementations.arrow import ArrowFSWrapper

    files = ArrowFSWrapper(store.filesystem())
    with files.open(f"{BUCKET}/fsspec/one", "wb") as out:
        out.write(b"text")
    assert files.cat(f"{BUCKET}/fsspec/one") == b"text"
    assert [Path(one["name"]).name for one in files.ls(f"{BUCKET}/fsspec", detail=True)] == ["one"]
