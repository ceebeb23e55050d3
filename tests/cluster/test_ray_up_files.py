"""The files for `ray up`: Ray itself takes them, nothing secret stands in them, and what they name is there."""
from __future__ import annotations

import copy
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.cluster.tree import CLUSTER, PAGES, ROOT, documents, extras, normal, pins, typed_in

CLOUDS = {"aws": "aws.yaml", "gcp": "gcp.yaml"}
SCRIPTS = sorted(CLUSTER.glob("*.sh"))


@pytest.fixture(params=sorted(CLOUDS))
def cloud(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def config(cloud: str) -> dict[str, Any]:
    return documents(CLUSTER / CLOUDS[cloud])[0]


def test_ray_takes_the_file(config: dict[str, Any]) -> None:
    validate_config(prepare_config(copy.deepcopy(config)))


def test_ray_would_refuse_a_misspelt_key(config: dict[str, Any]) -> None:
    broken = {**copy.deepcopy(config), "max_worker": 1}
    with pytest.raises(ValidationError, match="max_worker"):
        validate_config(prepare_config(broken))


def test_the_head_has_no_gpu_and_spot_workers_start_from_none(config: dict[str, Any]) -> None:
    types = config["available_node_types"]
    head, workers = types[config["head_node_type"]], [one for name, one in types.items() if name != config["head_node_type"]]
    assert "GPU" not in head["resources"]
    assert "spot" not in str(head["node_config"]).lower()
    for worker in workers:
        assert worker["min_workers"] == 0
        assert worker["resources"]["GPU"] >= 1
        node = worker["node_config"]
        market = node["InstanceMarketOptions"]["MarketType"] if "InstanceMarketOptions" in node else node["scheduling"]["provisioningModel"]
        assert market.lower() == "spot"


def test_what_is_copied_to_the_nodes_is_in_the_project_and_the_secrets_are_written_by_the_script(config: dict[str, Any]) -> None:
    written = re.findall(r"^# ([\w.-]+)  ", (CLUSTER / "secrets.sh").read_text(), re.MULTILINE)
    for remote, local in config["file_mounts"].items():
        if local.startswith("~/.adacrossnet/"):
            assert Path(local).name in written
        else:
            assert (ROOT / local).exists(), local
            assert remote == f"~/adacrossnet/{local}"
    assert {"~/.adacrossnet/ray-token", "~/.mlflow/credentials"} <= set(config["file_mounts"])


def test_what_an_editable_install_needs_is_copied(config: dict[str, Any]) -> None:
    text = (ROOT / "pyproject.toml").read_text()
    packages = re.search(r"^packages = \[(.*)\]  # editable", text, re.MULTILINE)
    assert packages is not None
    needed = {*re.findall(r'"(\w+)"', packages[1]), "pyproject.toml", "constraints.txt", "README.md", "configs"}
    assert needed <= set(config["file_mounts"].values())


def test_every_node_starts_ray_with_the_token_read_from_a_file(config: dict[str, Any]) -> None:
    environment = (CLUSTER / "node_env.sh").read_text()
    assert "RAY_AUTH_MODE=token" in environment
    assert 'RAY_AUTH_TOKEN_PATH="$HOME/.adacrossnet/ray-token"' in environment
    for kind in ("head_start_ray_commands", "worker_start_ray_commands"):
        for command in config[kind]:
            if "ray start" in command or "ray stop" in command:
                assert command.startswith(". ~/adacrossnet/cluster/node_env.sh;")


def test_tokens_are_made_in_the_ledger_that_the_service_reads() -> None:
    assert 'export ADACROSSNET_HOME="$HOME/state"' in (CLUSTER / "node_env.sh").read_text()
    services = (CLUSTER / "head_services.sh").read_text()
    assert 'state="$ADACROSSNET_HOME"' in services
    assert '--setenv=ADACROSSNET_HOME="$state"' in services
    assert "adacrossnet token create $USER" in typed_in(PAGES / "ray-up.md")


def test_nothing_secret_stands_in_the_file(cloud: str) -> None:
    text = (CLUSTER / CLOUDS[cloud]).read_text()
    assert not re.search(r"RAY_AUTH_TOKEN\b|[0-9a-f]{32,}|password\s*[:=]|AKIA|secret_access_key", text)


def test_the_first_version_of_the_autoscaler_runs_and_finds_its_config(config: dict[str, Any]) -> None:
    """The second does not report to the job server, and the pre-flight takes a cluster of no workers for one that has no GPU."""
    start = next(command for command in config["head_start_ray_commands"] if "ray start" in command)
    assert "export RAY_enable_autoscaler_v2=0;" in start
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in start


def test_the_job_server_listens_on_loopback_and_workers_join_at_the_heads_port(config: dict[str, Any]) -> None:
    head = next(command for command in config["head_start_ray_commands"] if "ray start" in command)
    worker = next(command for command in config["worker_start_ray_commands"] if "ray start" in command)
    assert "--dashboard-host=127.0.0.1 --dashboard-port=8265" in head
    port = re.search(r"--port=(\d+)", head)
    assert port is not None
    assert f"--address=$RAY_HEAD_IP:{port[1]}" in worker
    assert "RAY_ADDRESS=http://127.0.0.1:8265" in (CLUSTER / "head_services.sh").read_text()


def test_the_scripts_that_it_runs_are_there_and_are_shell(config: dict[str, Any]) -> None:
    commands = " ".join([*config["setup_commands"], *config["head_start_ray_commands"], *config["worker_start_ray_commands"]])
    named = set(re.findall(r"~/adacrossnet/cluster/(\w+\.sh)", commands))
    assert named == {"node_setup.sh", "node_env.sh", "head_services.sh"}
    assert named <= {script.name for script in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_each_script_parses(script: Path) -> None:
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_packages_come_pinned_and_the_clouds_own_are_those_of_its_extra(cloud: str, config: dict[str, Any]) -> None:
    (setup,) = config["setup_commands"]
    further = setup.split()[4:]  # bash, the script, the export, its options
    assert further == [re.split(r"[<>=]", one)[0] for one in extras()[cloud]]
    assert {normal(one) for one in further} <= set(pins())
    installs = re.findall(r"^.*pip. install.*$", (CLUSTER / "node_setup.sh").read_text(), re.MULTILINE)
    assert installs
    assert all('-c "$tree/constraints.txt"' in one for one in installs)
    assert installs[0].endswith("torch"), "torch first, pinned"
    assert config["head_setup_commands"] == [], "the template's would install an unpinned client"


def test_every_value_to_fill_in_is_filled_in_by_the_page(cloud: str) -> None:
    text = (CLUSTER / CLOUDS[cloud]).read_text()
    values = {"aws": ["fs-00000000000000000", "ami-00000000000000000"], "gcp": ["your-project", "10.0.0.2"]}[cloud]
    commands = typed_in(PAGES / "ray-up.md")
    (line,) = [one for one in commands.splitlines() if one.startswith("sed -i") and one.endswith(f"cluster/{cloud}.yaml")]
    for value in values:
        assert value in text
        assert f"s/{value}/" in line
    marked = [one for one in text.splitlines() if "FILL IN" in one]
    assert all(any(value in one for value in values) for one in marked)


def test_storage_in_the_page_is_where_the_nodes_mount_it() -> None:
    setup = (CLUSTER / "node_setup.sh").read_text()
    shared = re.search(r"^shared=(\S+)", setup, re.MULTILINE)
    assert shared is not None
    assert f"cluster.storage={shared[1]}/storage" in typed_in(PAGES / "ray-up.md")
    assert '"$shared/storage"' in setup
    assert f"shared={shared[1]}" in (CLUSTER / "head_services.sh").read_text()


def test_ec2_takes_the_machines_as_they_are_described() -> None:
    boto = pytest.importorskip("botocore.session", reason="botocore is not installed (the extra `aws`)")
    validate = pytest.importorskip("botocore.validate").ParamValidator()
    shape = boto.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    for name, kind in documents(CLUSTER / "aws.yaml")[0]["available_node_types"].items():
        wanted = {"MinCount": 1, "MaxCount": 1, **kind["node_config"]}
        assert not validate.validate(wanted, shape).has_errors(), name
        assert validate.validate({**wanted, "InstanceTypo": "x"}, shape).has_errors()


def test_compute_engine_takes_the_machines_as_they_are_described() -> None:
    cache = pytest.importorskip("googleapiclient.discovery_cache", reason="Google's client is not installed (the extra `gcp`)")
    schemas = json.loads((Path(cache.__file__).parent / "documents" / "compute.v1.json").read_text())["schemas"]

    def unknown(value: Any, schema: dict[str, Any], where: str) -> list[str]:
        schema = schemas[schema["$ref"]] if "$ref" in schema else schema
        if isinstance(value, list):
            assert schema["type"] == "array", where
            return [fault for one in value for fault in unknown(one, schema["items"], where)]
        if isinstance(value, dict):
            known = schema.get("properties", {})
            inside = [fault for key in value if key in known for fault in unknown(value[key], known[key], f"{where}.{key}")]
            return [f"{where}.{key}" for key in value if key not in known] + inside
        return [f"{where}={value}"] if "enum" in schema and value not in schema["enum"] else []

    for name, kind in documents(CLUSTER / "gcp.yaml")[0]["available_node_types"].items():
        assert unknown(kind["node_config"], {"$ref": "Instance"}, name) == []
    assert unknown({"scheduling": {"preemptable": True}}, {"$ref": "Instance"}, "x") == ["x.scheduling.preemptable"]
