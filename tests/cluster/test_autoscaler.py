"""An autoscaler of the version that the files choose is seen by the pre-flight: a cluster of no GPU is then no reason to refuse."""
from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pytest

from cluster.ports import RAYS_OWN, free_ports
from cluster.ray_head import token_file, wait_for_head
from cluster.server import start
from service.ray_jobs import RayJobs
from tests.cluster.tree import CLUSTER, documents

pytestmark = pytest.mark.soak
FAKE = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"


def test_a_head_whose_workers_come_when_they_are_asked_for_is_no_cluster_without_gpus(tmp_path: Path) -> None:
    (config,) = documents(CLUSTER / "aws.yaml")
    command = next(one for one in config["head_start_ray_commands"] if "ray start" in one)
    version = re.search(r"export (RAY_enable_autoscaler_v2)=(\d);", command)
    assert version is not None
    head_type = config["head_node_type"]
    types = {  # those of the file, for Ray's own stand-in for a cloud, which calls the head's by this name
        ("ray.head.default" if name == head_type else name): {"max_workers": 0, **one, "node_config": {}}
        for name, one in config["available_node_types"].items()
    }
    fake = {
        **{key: [] if isinstance(value, list) else value for key, value in config.items()}, "available_node_types": types,
        "provider": {"type": "external", "module": FAKE, "use_node_id_as_ip": True},
        "head_node_type": "ray.head.default", "file_mounts": {}, "initialization_commands": [], "cluster_synced_files": [],
    }  # fmt: skip
    (tmp_path / "autoscaling.json").write_text(json.dumps(fake))
    gcs, dashboard, client, metrics, agent, agent_grpc, runtime_env = free_ports(7, RAYS_OWN)
    temp = Path(tempfile.mkdtemp(prefix="acn-", dir="/tmp"))  # short: Unix sockets below it end at 107 bytes
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_file(tmp_path)), "RAY_USAGE_STATS_ENABLED": "0", "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1", version[1]: version[2],
    }  # fmt: skip
    head = [
        sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={gcs}", "--dashboard-host=127.0.0.1",
        f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}", f"--metrics-export-port={metrics}",
        f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={agent_grpc}", f"--runtime-env-agent-port={runtime_env}",
        "--num-cpus=1", "--object-store-memory=100000000", f"--temp-dir={temp}", f"--autoscaling-config={tmp_path / 'autoscaling.json'}",
    ]  # fmt: skip
    server = start("the Ray head", head, environment, tmp_path / "ray.log", dashboard, survives=False, grace=10.0, remove=temp)
    try:
        wait_for_head(server, tmp_path)
        jobs = RayJobs(f"http://127.0.0.1:{dashboard}", token_file(tmp_path).read_text())
        until = time.monotonic() + 60
        while not jobs.autoscales():
            assert time.monotonic() < until, "the autoscaler does not show"
            time.sleep(0.5)
        assert sum(node.get("GPU", 0) for node in jobs.nodes()) == 0
    finally:
        server.ask_to_stop()
        server.wait_stopped()
        shutil.rmtree(temp, ignore_errors=True)
