"""A local S3-compatible server (moto's) for tests, with one bucket."""
from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow.fs
import pytest
import requests

from cluster.ports import free_ports
from cluster.server import start, wait_until

KEY, SECRET, BUCKET = "test-key", "test-secret", "shapes"


@dataclass
class Store:
    """Where it answers, and the environment of a process that may use it."""

    port: int
    environment: dict[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def filesystem(self) -> pyarrow.fs.S3FileSystem:
        return pyarrow.fs.S3FileSystem(
            access_key=KEY, secret_key=SECRET, region="us-east-1", scheme="http", endpoint_override=f"127.0.0.1:{self.port}"
        )


@contextmanager
def s3_server(folder: Path) -> Iterator[Store]:
    """Runs as long as this; its log goes to `folder`."""
    pytest.importorskip("moto.server", reason="moto's server is not installed (the extra `soak`)")
    (port,) = free_ports(1)
    command = [sys.executable, "-P", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = start("the S3 server", command, dict(os.environ), folder / "log", port, survives=False, grace=5.0)
    try:
        wait_until(server, lambda: requests.get(f"http://127.0.0.1:{port}/moto-api/", timeout=5).status_code == 200, 60)
        given = {
            "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1",
            "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        }  # fmt: skip
        found = Store(port, given)
        assert requests.put(f"{found.url}/{BUCKET}", timeout=30).status_code == 200
        yield found
    finally:
        server.ask_to_stop()
        server.wait_stopped()
