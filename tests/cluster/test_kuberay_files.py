"""The manifests for Kubernetes: as their schemas want them, and agreeing with each other and with the page."""
from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from tests.cluster.tree import CLUSTER, PAGES, documents, typed_in

FOLDER = CLUSTER / "kuberay"
MANIFESTS = [one for path in sorted(FOLDER.glob("*.yaml")) if path.name != "kustomization.yaml" for one in documents(path)]
PODS = ("Deployment", "StatefulSet")


def of_kind(kind: str) -> list[dict[str, Any]]:
    found = [one for one in MANIFESTS if one["kind"] == kind]
    assert found, kind
    return found


def cluster() -> dict[str, Any]:
    (one,) = of_kind("RayCluster")
    return one


def pod_templates() -> dict[str, dict[str, Any]]:
    """Name -> template of every pod, with the labels that the operator gives to Ray's."""
    found = {one["metadata"]["name"]: one["spec"]["template"] for one in MANIFESTS if one["kind"] in PODS}
    ray = cluster()
    name = ray["metadata"]["name"]
    head = copy.deepcopy(ray["spec"]["headGroupSpec"]["template"])
    head["metadata"]["labels"] |= {"ray.io/cluster": name, "ray.io/node-type": "head"}
    found["ray head"] = head
    for group in ray["spec"]["workerGroupSpecs"]:
        worker = copy.deepcopy(group["template"])
        worker["metadata"]["labels"] |= {"ray.io/cluster": name, "ray.io/node-type": "worker"}
        found[f"ray worker {group['groupName']}"] = worker
    return found


def selected(labels: dict[str, str]) -> set[str]:
    """The pods that a selector of labels matches."""
    return {name for name, pod in pod_templates().items() if labels.items() <= pod["metadata"]["labels"].items()}


def inside(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in a manifest."""
    if isinstance(value, dict):
        yield value
        for one in value.values():
            yield from inside(one)
    elif isinstance(value, list):
        for one in value:
            yield from inside(one)


def secrets_named() -> dict[str, set[str]]:
    """Secret -> its keys that the manifests read."""
    found: dict[str, set[str]] = {}
    for manifest in MANIFESTS:
        for one in inside(manifest):
            if "secretKeyRef" in one:
                found.setdefault(one["secretKeyRef"]["name"], set()).add(one["secretKeyRef"]["key"])
            if isinstance(one.get("secret"), dict):
                found.setdefault(one["secret"]["secretName"], set())
            if "authOptions" in one:
                found.setdefault(one["authOptions"]["secretName"], set()).add("auth_token")  # the operator's own name of the key
    return found


def secrets_made() -> dict[str, set[str]]:
    """Secret -> its keys, as the page's commands make them."""
    found = {}
    commands = typed_in(PAGES / "kubernetes.md")
    for name, files in re.findall(r"^kubectl create secret generic (\S+)((?: --from-file=\S+)+)", commands, re.MULTILINE):
        found[name] = {one.split("=")[1] for one in files.split()}
    return found


@pytest.fixture(scope="module")
def schema() -> Callable[..., dict[str, Any]]:
    """A part of a custom resource's schema, in which an unknown field is an error."""
    folder = os.environ.get("KUBERAY_SCHEMAS")
    if not folder:
        pytest.skip("KUBERAY_SCHEMAS names no folder with KubeRay's schemas (raycluster-v1.json, rayjob-v1.json)")

    def closed(value: Any) -> Any:
        if isinstance(value, list):
            return [closed(one) for one in value]
        if not isinstance(value, dict):
            return value
        made = {key: closed(one) for key, one in value.items()}
        if isinstance(made.get("properties"), dict) and made.get("type") == "object":
            made.setdefault("additionalProperties", False)
        return made

    def part(kind: str, *path: str) -> dict[str, Any]:
        found = json.loads((Path(folder) / f"{kind.lower()}-v1.json").read_text())
        for name in path:
            found = found["items"] if name == "[]" else found["properties"][name]
        return closed(found)

    return part


def faults(value: Any, wanted: dict[str, Any]) -> list[str]:
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in Draft7Validator(wanted).iter_errors(value)]


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_rays_resources_are_as_their_schemas_want_them(kind: str, schema: Callable[..., dict[str, Any]]) -> None:
    for one in of_kind(kind):
        assert faults(one["spec"], schema(kind, "spec")) == []
        assert faults({**one["spec"], "rayVersio": "2"}, schema(kind, "spec")) != []


def test_pods_are_as_the_schema_of_a_pod_wants_them(schema: Callable[..., dict[str, Any]]) -> None:
    """Of every kind: the schema of Ray's head holds Kubernetes' own of a pod."""
    wanted = schema("RayCluster", "spec", "headGroupSpec", "template", "spec")
    for name, pod in pod_templates().items():
        assert faults(pod["spec"], wanted) == [], name
    broken = copy.deepcopy(pod_templates()["mlflow"]["spec"])
    broken["containers"][0]["readinesProbe"] = {}
    assert faults(broken, wanted) != []


def test_services_and_rules_are_as_their_schemas_want_them(schema: Callable[..., dict[str, Any]]) -> None:
    service = schema("RayCluster", "spec", "headGroupSpec", "headService", "spec")
    rules = schema("RayCluster", "spec", "networkPolicy", "head", "ingressRules")
    for one in of_kind("Service"):
        assert faults(one["spec"], service) == [], one["metadata"]["name"]
    for one in of_kind("NetworkPolicy"):
        assert faults(one["spec"].get("ingress", []), rules) == [], one["metadata"]["name"]
        assert set(one["spec"]) <= {"podSelector", "policyTypes", "ingress"}


def test_kustomize_builds_it_with_the_image_of_ones_registry_everywhere() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run(["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    images = set(re.findall(r"image: (\S+)", done.stdout))
    ours = {one for one in images if "adacrossnet" in one}
    assert len(ours) == 1
    assert next(iter(ours)).startswith("registry.example.com/adacrossnet:")
    assert done.stdout.count("kind: RayCluster") == 1


def test_kustomize_takes_every_file_but_the_job_that_is_applied_afterwards() -> None:
    (listed,) = documents(FOLDER / "kustomization.yaml")
    there = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml", "rayjob.yaml"}
    assert set(listed["resources"]) == there
    commands = typed_in(PAGES / "kubernetes.md")
    assert f"kubectl create namespace {listed['namespace']}\n" in commands
    assert f"set-context --current --namespace={listed['namespace']}\n" in commands


def test_a_services_selector_finds_one_kind_of_pod_and_its_port() -> None:
    for service in of_kind("Service"):
        pods = selected(service["spec"]["selector"])
        assert len(pods) == 1, service["metadata"]["name"]
        ports = {port["name"]: port["containerPort"] for one in pod_templates()[pods.pop()]["spec"]["containers"] for port in one["ports"]}
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]


def test_a_workloads_selector_is_that_of_its_pods() -> None:
    for kind in PODS:
        for one in of_kind(kind):
            labels = one["spec"]["template"]["metadata"]["labels"]
            assert one["spec"]["selector"]["matchLabels"].items() <= labels.items()
            assert selected(one["spec"]["selector"]["matchLabels"]) == {one["metadata"]["name"]}


def test_addresses_in_environments_name_services_and_their_ports() -> None:
    known = {one["metadata"]["name"]: {port["port"] for port in one["spec"]["ports"]} for one in of_kind("Service")}
    head = cluster()["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    known[f"{cluster()['metadata']['name']}-head-svc"] = {port["containerPort"] for port in head["ports"]}  # the operator's
    addresses = {
        variable["value"] for pod in pod_templates().values() for one in pod["spec"]["containers"] for variable in one.get("env", [])
        if str(variable.get("value", "")).startswith("http")
    }  # fmt: skip
    assert len(addresses) == 2
    for address in addresses:
        match = re.fullmatch(r"http://([\w-]+):(\d+)", address)
        assert match is not None
        assert int(match[2]) in known[match[1]], address


def test_commands_listen_on_the_ports_that_the_containers_declare() -> None:
    for name in ("mlflow", "adacrossnet"):
        (container,) = pod_templates()[name]["spec"]["containers"]
        said = re.search(r"--port (\d+)", " ".join(container["command"]))
        assert said is not None
        assert int(said[1]) in {port["containerPort"] for port in container["ports"]}
        assert "--host 0.0.0.0" in " ".join(container["command"])


def test_probes_name_declared_ports() -> None:
    for name, pod in pod_templates().items():
        for container in pod["spec"]["containers"]:
            names = {port["name"] for port in container["ports"]}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                for kind in ("httpGet", "tcpSocket"):
                    if kind in container.get(probe, {}):
                        assert container[probe][kind]["port"] in names, name


def test_the_service_is_probed_where_it_answers_and_has_a_second_that_takes_over() -> None:
    (deployment,) = [one for one in of_kind("Deployment") if one["metadata"]["name"] == "adacrossnet"]
    assert deployment["spec"]["replicas"] == 2
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    names = {one["name"] for one in container["env"]}
    assert {"ADACROSSNET_HOME", "ADACROSSNET_LEDGER_FILE", "RAY_ADDRESS", "RAY_AUTH_TOKEN_PATH", "MLFLOW_TRACKING_URI"} <= names


def test_the_service_waits_for_the_first_token_which_the_page_makes_from_within_over_the_same_ledger() -> None:
    pod = pod_templates()["adacrossnet"]["spec"]
    (wait,) = pod["initContainers"]
    (container,) = pod["containers"]
    assert "adacrossnet token list" in wait["command"][-1]
    assert wait["image"] == container["image"]
    assert all(one in container["env"] for one in wait["env"])
    assert all(one in container["volumeMounts"] for one in wait["volumeMounts"])
    commands = typed_in(PAGES / "kubernetes.md")
    first = f"kubectl exec deployment/adacrossnet --container {wait['name']} -- adacrossnet token create"
    assert commands.index(first) < commands.index("kubectl wait --for=condition=Available deployment/adacrossnet")


def test_mounts_have_volumes_and_secrets_are_read_where_the_environment_says() -> None:
    for name, pod in pod_templates().items():
        volumes = {one["name"]: one for one in pod["spec"].get("volumes", [])}
        claims = {one["metadata"]["name"] for other in of_kind("StatefulSet") for one in other["spec"]["volumeClaimTemplates"]}
        for container in pod["spec"]["containers"]:
            mounts = {one["mountPath"]: one for one in container["volumeMounts"]}
            assert {one["name"] for one in mounts.values()} <= set(volumes) | (claims if name == "postgres" else set()), name
            assert set(volumes) <= {one["name"] for one in mounts.values()}, f"{name} mounts each volume that it has"
            for variable in container.get("env", []):
                if str(variable.get("value", "")).startswith("/run/secrets/"):
                    path = Path(variable["value"])
                    assert str(path.parent) in mounts, variable["name"]
                    secret = volumes[mounts[str(path.parent)]["name"]]["secret"]["secretName"]
                    assert path.name in secrets_made()[secret], variable["name"]


def test_secrets_are_made_by_the_page_with_the_keys_that_are_read_and_none_stands_in_a_file() -> None:
    made = secrets_made()
    for name, keys in secrets_named().items():
        assert name in made, name
        assert keys <= made[name], name
    assert set(made) == set(secrets_named())
    assert not [one for one in MANIFESTS if one["kind"] == "Secret"]


def test_files_that_the_page_makes_secrets_from_are_written_by_the_script() -> None:
    commands = typed_in(PAGES / "kubernetes.md")
    written = set(re.findall(r"^# ([\w.-]+)  ", (CLUSTER / "secrets.sh").read_text(), re.MULTILINE))
    typed = set(re.findall(r"> ([\w-]+)", commands))
    for one in re.findall(r"--from-file=(\S+)", commands):
        assert one.split("=")[-1] in written | typed, one


def test_mounted_secrets_are_readable_by_the_pods_group_alone() -> None:
    for name, pod in pod_templates().items():
        for volume in pod["spec"]["volumes"]:
            if "secret" in volume:
                assert volume["secret"]["defaultMode"] == 0o440, name
                assert "fsGroup" in pod["spec"]["securityContext"]


def test_ray_asks_for_the_token_and_scales_gpu_workers_from_none() -> None:
    spec = cluster()["spec"]
    assert spec["authOptions"] == {"mode": "token", "secretName": "ray-token"}
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["autoscalerOptions"]["version"] == "v1", "the second version does not report to the job server"
    assert {"name": "RAY_enable_autoscaler_v2", "value": "0"} in spec["headGroupSpec"]["template"]["spec"]["containers"][0]["env"]
    (group,) = spec["workerGroupSpecs"]
    assert group["minReplicas"] == group["replicas"] == 0
    assert group["maxReplicas"] > 0
    assert group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_all_of_rays_nodes_and_the_service_mount_the_shared_claim() -> None:
    (claim,) = of_kind("PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for name in ("ray head", "ray worker gpu", "adacrossnet"):
        pod = pod_templates()[name]["spec"]
        wanted = {"claimName": claim["metadata"]["name"]}
        (volume,) = [one["name"] for one in pod["volumes"] if one.get("persistentVolumeClaim") == wanted]
        assert {"name": volume, "mountPath": "/shared"} in pod["containers"][0]["volumeMounts"], name
    assert "cluster.storage=/shared/storage" in typed_in(PAGES / "kubernetes.md")


def test_the_job_asks_the_cluster_there_is_for_the_storage_that_pipelines_use() -> None:
    (job,) = of_kind("RayJob")
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": cluster()["metadata"]["name"]}
    module = re.search(r"python -m (jobs\.\w+) (\S+)$", job["spec"]["entrypoint"])
    assert module is not None
    assert (CLUSTER.parent / f"{module[1].replace('.', '/')}.py").exists()
    assert module[2] == "/shared/storage"
    assert f"rayjob/{job['metadata']['name']}" in typed_in(PAGES / "kubernetes.md")


def policies() -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one["spec"] for one in of_kind("NetworkPolicy")}


def reach(pod: str, port: int) -> set[str]:
    """Who reaches a port of a pod, of all pods and the operator, as the rules together say."""
    others = {name: one["metadata"]["labels"] for name, one in pod_templates().items()}
    others["operator"] = {"app.kubernetes.io/name": "kuberay-operator"}
    found = set()
    for spec in policies().values():
        if not spec["podSelector"].get("matchLabels", {}).items() <= others[pod].items():
            continue
        for rule in spec.get("ingress", []):
            if "ports" in rule and port not in {one["port"] for one in rule["ports"]}:
                continue
            for peer in rule["from"]:
                assert set(peer) == {"podSelector"}, "nobody from another namespace, and no address"
                wanted = peer["podSelector"].get("matchLabels", {})
                found |= {name for name, labels in others.items() if wanted.items() <= labels.items()}
    return found


def test_pods_are_closed_before_anything_is_opened() -> None:
    assert policies()["closed"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    assert all(one["policyTypes"] == ["Ingress"] for one in policies().values())


def test_only_the_service_the_operator_and_rays_own_nodes_reach_the_job_server() -> None:
    assert reach("ray head", 8265) == {"adacrossnet", "operator", "ray head", "ray worker gpu"}


def test_rays_other_ports_are_open_to_rays_own_nodes_alone() -> None:
    assert reach("ray head", 6379) == reach("ray worker gpu", 12345) == {"ray head", "ray worker gpu"}


def test_mlflow_and_postgresql_are_reached_by_those_who_need_them_alone() -> None:
    assert reach("mlflow", 5000) == {"adacrossnet", "ray head", "ray worker gpu"}
    assert reach("postgres", 5432) == {"adacrossnet", "mlflow"}


def test_every_rule_opens_a_port_that_its_pods_have() -> None:
    for name, spec in policies().items():
        for rule in spec.get("ingress", []):
            for port in rule.get("ports", []):
                pods = selected(spec["podSelector"]["matchLabels"])
                assert pods, name
                declared = {one["containerPort"] for pod in pods for c in pod_templates()[pod]["spec"]["containers"] for one in c["ports"]}
                assert port["port"] in declared, name


def test_no_container_runs_as_root_or_gains_rights() -> None:
    for name, pod in pod_templates().items():
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True, name
        for container in pod["spec"]["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False, name
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
