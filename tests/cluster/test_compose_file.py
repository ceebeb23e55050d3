"""The compose file: its parts agree with each other, with the image and with the page; nothing is published beyond loopback."""
from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.tree import CLUSTER, PAGES, documents, typed_in

FILE = CLUSTER / "compose.yaml"
COMPOSE: dict[str, Any] = documents(FILE)[0]
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def granted(service: dict[str, Any]) -> dict[str, str]:
    """Secret -> where the container finds it."""
    return {
        (one if isinstance(one, str) else one["source"]): f"/run/secrets/{one}" if isinstance(one, str) else one["target"]
        for one in service.get("secrets", [])
    }


def words(service: dict[str, Any]) -> str:
    return " ".join(service.get("command", []))


def test_every_published_port_is_on_loopback_and_is_one_that_the_command_listens_on() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"head", "mlflow", "service"}
    for name, ports in published.items():
        for port in ports:
            match = re.fullmatch(r"127\.0\.0\.1:(\d+):(\d+)", port)
            assert match is not None, f"{name}: {port}"
            assert re.search(rf"--(dashboard-)?port[= ]{match[2]}\b", words(SERVICES[name])), name


def test_what_is_waited_for_exists_and_says_when_it_is_healthy() -> None:
    for name, service in SERVICES.items():
        assert "healthcheck" in service, name
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES
            assert how == {"condition": "service_healthy"}


def test_health_is_asked_where_the_container_listens() -> None:
    for name in ("head", "mlflow", "service"):
        (url,) = [one for one in SERVICES[name]["healthcheck"]["test"] if one.startswith("http")]
        port = re.search(r"127\.0\.0\.1:(\d+)/", url)
        assert port is not None
        assert f"127.0.0.1:{port[1]}:{port[1]}" in SERVICES[name]["ports"], name


def test_addresses_name_services_and_their_ports() -> None:
    environment = SERVICES["service"]["environment"]
    for variable, name in (("RAY_ADDRESS", "head"), ("MLFLOW_TRACKING_URI", "mlflow")):
        match = re.fullmatch(r"http://(\w+):(\d+)", environment[variable])
        assert match is not None
        assert match[1] == name
        assert f"127.0.0.1:{match[2]}:{match[2]}" in SERVICES[name]["ports"]
        if name == "mlflow":
            allowed = SERVICES[name]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
            assert {f"{name}:{match[2]}", f"127.0.0.1:{match[2]}"} <= set(allowed)
    port = re.search(r"--port=(\d+)", words(SERVICES["head"]))
    assert port is not None
    assert f"--address=head:{port[1]}" in words(SERVICES["worker"])


def test_secrets_are_declared_as_files_that_the_script_writes_and_all_are_used() -> None:
    used = {one for service in SERVICES.values() for one in granted(service)}
    assert used == set(COMPOSE["secrets"])
    written = set(re.findall(r"^# ([\w.-]+)  ", (CLUSTER / "secrets.sh").read_text(), re.MULTILINE))
    for name, where in COMPOSE["secrets"].items():
        assert where == {"file": f"./secrets/{name}"}
        assert name in written


def test_secrets_are_read_where_they_are_mounted() -> None:
    for name, service in SERVICES.items():
        values = [*map(str, service.get("environment", {}).values()), words(service)]
        named = {path for value in values for path in re.findall(r"/run/secrets/[\w.-]+", value)}
        assert named <= set(granted(service).values()), name
    for name in ("head", "worker", "service"):
        assert SERVICES[name]["environment"]["RAY_AUTH_MODE"] == "token"
        assert SERVICES[name]["environment"]["RAY_AUTH_TOKEN_PATH"] == granted(SERVICES[name])["ray-token"]
        assert granted(SERVICES[name])["credentials"].endswith("/.mlflow/credentials")


def test_nothing_secret_stands_in_the_file() -> None:
    assert not re.search(r"[0-9a-f]{32,}|RAY_AUTH_TOKEN:|POSTGRES_PASSWORD:|_PASSWORD: |postgresql\S*://", FILE.read_text())


def test_volumes_and_configs_are_declared() -> None:
    for service in SERVICES.values():
        assert {one.split(":")[0] for one in service.get("volumes", [])} <= set(COMPOSE["volumes"])
        assert {one["source"] for one in service.get("configs", [])} <= set(COMPOSE["configs"])


def test_ray_the_service_and_the_page_share_the_folder_of_checkpoints() -> None:
    for name in ("head", "worker", "service"):
        assert "shared:/shared" in SERVICES[name]["volumes"]
    assert "cluster.storage=/shared/storage" in typed_in(PAGES / "compose.md")
    assert SERVICES["service"]["environment"]["ADACROSSNET_HOME"] == "/shared/state"


def test_the_first_token_is_made_before_the_service_is_waited_for() -> None:
    commands = typed_in(PAGES / "compose.md")
    assert commands.index("run --rm -T service adacrossnet token create") < commands.index("up --detach --wait")


def test_postgresql_is_healthy_only_once_every_database_that_is_used_is_there() -> None:
    made = set(re.findall(r"CREATE DATABASE (\w+);", COMPOSE["configs"]["databases"]["content"]))
    made.add(SERVICES["postgres"]["environment"]["POSTGRES_DB"])
    used = set(re.findall(r"@%s:5432/(\w+)", (CLUSTER / "secrets.sh").read_text()))
    assert used == made
    last = re.findall(r"CREATE DATABASE (\w+);", COMPOSE["configs"]["databases"]["content"])[-1]
    assert f"--dbname={last}" in SERVICES["postgres"]["healthcheck"]["test"]
    kubernetes = (CLUSTER / "kuberay" / "postgres.yaml").read_text()
    assert set(re.findall(r"CREATE DATABASE (\w+);", kubernetes)) | {"adacrossnet"} == made


def test_the_image_is_built_from_the_projects_own_file() -> None:
    build = SERVICES["head"]["build"]
    assert (CLUSTER / build["context"]).resolve() == CLUSTER.parent
    dockerfile = (CLUSTER.parent / build["dockerfile"]).read_text()
    for argument in build["args"]:
        assert re.search(rf"^ARG {argument}=", dockerfile, re.MULTILINE), argument
    ours = {service["image"] for service in SERVICES.values()} - {SERVICES["postgres"]["image"]}
    assert len(ours) == 1


def test_variables_have_values_where_nothing_is_exported() -> None:
    text = re.sub(r"^\s*#.*$", "", FILE.read_text(), flags=re.MULTILINE)
    found = re.findall(r"\$\{(\w+)(:-[^}]*)?\}", text)
    assert found
    assert all(value for _, value in found)
    names = {name for name, _ in found}
    assert names <= set(re.findall(r"ADACROSSNET_\w+", (PAGES / "compose.md").read_text()))


def test_docker_compose_takes_it(tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode != 0:
        pytest.skip("docker with its compose plugin is not installed")
    done = subprocess.run([docker, "compose", "-f", str(FILE), "config", "--format", "json"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["services"]) == set(SERVICES)
