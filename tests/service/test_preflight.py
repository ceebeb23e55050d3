"""What is refused before anything is queued."""
from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.local import LocalCluster
from jobs.config import ConfigError, check, names
from jobs.config import Pipeline as Config
from service.endpoints import Endpoint, choose, resolve
from service.home import Home, project_tree
from service.job_environment import staging
from service.preflight import Unfit, _check_reach, check_cluster, check_fits, check_local, grows
from service.ray_jobs import ClusterAway, Job
from service.tables import EMBEDDED, PRIVATE, UP


def _asking(workers: int | dict[str, int], cpus: float = 1.0, gpus: float = 0.0, validator: float = 0.0) -> Config:
    cluster = {"workers": workers, "cpus_per_worker": cpus, "gpus_per_worker": gpus, "validator_gpus": validator}
    return check({"data": {"kind": "synthetic"}, "cluster": cluster}, "test")


@pytest.mark.parametrize(
    ("config", "nodes", "fits"),
    [
        (_asking(2), [{"CPU": 2.0}], True),
        (_asking(3), [{"CPU": 2.0}], False),
        (_asking(2, cpus=0.1), [{"CPU": 0.2}], True),  # 0.2 / 0.1 must not become 1.99…
        (_asking(2, cpus=3), [{"CPU": 4.0}, {"CPU": 2.0}], False),  # six cores, but no worker spans two nodes
        (_asking(2, cpus=2), [{"CPU": 2.0}, {"CPU": 2.0}], True),
        (_asking(1, gpus=1), [{"CPU": 8.0}], False),
        (_asking(2, gpus=1), [{"CPU": 8.0, "GPU": 2.0}], True),
        (_asking(2, gpus=1, validator=0.5), [{"CPU": 8.0, "GPU": 2.0}], False),  # the workers hold both
        (_asking(2, gpus=1, validator=0.5), [{"CPU": 8.0, "GPU": 1.0}] * 3, True),
        (_asking(2, gpus=1, validator=1.0), [{"CPU": 1.0, "GPU": 2.0}, {"CPU": 1.0, "GPU": 1.0}], True),
        (_asking(2, gpus=0.4, validator=0.2), [{"CPU": 8.0, "GPU": 1.0}], True),
        (_asking(2, validator=0.5), [{"CPU": 8.0}], False),  # workers on the CPU, and no GPU for it
        (_asking(2, validator=0.5), [{"CPU": 8.0}, {"CPU": 0.0, "GPU": 1.0}], True),
        (_asking({"min": 2, "max": 16}), [{"CPU": 2.0}], True),  # what must fit is the least
        (_asking({"min": 3, "max": 16}), [{"CPU": 2.0}], False),
        (_asking({"min": 1, "max": 4}, gpus=1, validator=0.5), [{"CPU": 8.0, "GPU": 2.0}], False),  # it takes both
        (_asking({"min": 1, "max": 1}, gpus=1, validator=0.5), [{"CPU": 8.0, "GPU": 2.0}], True),
        (_asking({"min": 1, "max": 4}, gpus=1, validator=0.5), [{"CPU": 8.0, "GPU": 5.0}], True),
    ],
)
def test_workers_fit_where_every_one_finds_its_bundle_on_a_node(config: Config, nodes: list[dict[str, float]], fits: bool) -> None:
    if fits:
        check_fits(config, nodes, "it")
    else:
        with pytest.raises(Unfit):
            check_fits(config, nodes, "it")


def test_workers_of_a_kind_of_gpu_and_drivers_need_nodes_that_have_it() -> None:
    def asking(**cluster: Any) -> Config:
        return check({"data": {"kind": "synthetic"}, "evaluations": [{"task": "fewshot"}], "cluster": cluster}, "test")

    nodes = [{"CPU": 8.0, "GPU": 2.0, "accelerator_type:A10G": 1.0}, {"CPU": 8.0}]
    check_fits(asking(workers=2, gpus_per_worker=1.0, accelerator_type="A10G"), nodes, "it")
    with pytest.raises(Unfit, match=r"2 workers x 1 CPU and 1 GPU; of type H100, it has 0 CPU, 0 GPU on 0 nodes, room for 0"):
        check_fits(asking(workers=2, gpus_per_worker=1.0, accelerator_type="H100"), nodes, "it")
    check_fits(asking(drivers={"fewshot": {"gpus": 1.0, "accelerator_type": "A10G"}, "evaluate": {"cpus": 8.0}}), nodes, "it")
    with pytest.raises(Unfit, match=r"cluster.drivers.fewshot asks for 1 GPU of type H100, and no node of it has that"):
        check_fits(asking(drivers={"fewshot": {"gpus": 1.0, "accelerator_type": "H100"}}), nodes, "it")
    with pytest.raises(Unfit, match=r"cluster.drivers.evaluate asks for 16 CPU, and no node"):
        check_fits(asking(drivers={"evaluate": {"cpus": 16.0}}), nodes, "it")
    with pytest.raises(ConfigError, match="this pipeline has no stage 'parts', but prepare, pretrain, evaluate, register, fewshot"):
        asking(drivers={"parts": {"gpus": 1.0}})
    with pytest.raises(ConfigError, match=r"cluster\.gpus_per_worker is 0: set that too"):
        asking(accelerator_type="H100")


def test_a_cluster_said_to_grow_is_no_limit_whatever_the_job_server_tells() -> None:
    for said, seen, expected in ((None, True, True), (None, False, False), (True, False, True), (False, True, False)):
        config = check({"data": {"kind": "synthetic"}, "cluster": {"autoscales": said}}, "test")
        assert grows(config, seen) is expected


def test_the_message_says_what_was_asked_what_is_there_and_what_to_change() -> None:
    with pytest.raises(Unfit, match=r"asks for 8 workers x 1 CPU; the cluster has 2 CPU on 1 node, room for 2: .*--set cluster.workers=2"):
        check_fits(_asking(8), [{"CPU": 2.0}], "the cluster")


def test_of_elastic_workers_the_message_asks_for_the_least_and_names_the_bound_to_lower() -> None:
    with pytest.raises(Unfit, match=r"asks for at least 3 workers x 1 CPU; .* room for 2: .*--set cluster.workers.min=2\)"):
        check_fits(_asking({"min": 3, "max": 8}), [{"CPU": 2.0}], "the cluster")
    with pytest.raises(Unfit, match=r"room for 1 of 2 workers with it: --set cluster.workers.max=1, or"):
        check_fits(_asking({"min": 1, "max": 8}, gpus=1, validator=0.5), [{"CPU": 8.0, "GPU": 2.0}], "the cluster")


@pytest.mark.parametrize(
    ("config", "room"), [(_asking(2, gpus=1, validator=0.5), 1), (_asking(1, gpus=2, validator=1.0), 0)]
)
def test_a_validator_without_a_gpu_is_said_with_what_helps(config: Config, room: int) -> None:
    with pytest.raises(Unfit, match=rf"cluster.validator_gpus asks for .*2 GPU on 1 node, room for {room} of") as refused:
        check_fits(config, [{"CPU": 8.0, "GPU": 2.0}], "the cluster")
    assert ("--set cluster.workers=1, or" in str(refused.value)) == bool(room)
    values = config.model_dump()
    for changed in ({"workers": room} if room else {}, {"validator_gpus": 0.0}):
        if changed:
            check_fits(check({**values, "cluster": {**values["cluster"], **changed}}, "test"), [{"CPU": 8.0, "GPU": 2.0}], "it")


@pytest.mark.parametrize(
    ("config", "nodes", "short"),
    [
        (_asking(1, cpus=4), [{"CPU": 2.0}], "too little CPU, no node has more than 2 CPU"),
        (_asking(3, cpus=4), [{"CPU": 2.0}, {"CPU": 1.0}], "no node has more than 2 CPU"),
        (_asking(1, cpus=4, gpus=1), [{"CPU": 2.0}], "no node has more than 2 CPU and 0 GPU"),
        (_asking(2, gpus=1), [{"CPU": 8.0, "GPU": 0.5}], "no node has more than 0.5 GPU"),
    ],
)
def test_where_no_worker_fits_the_advice_names_what_is_short_and_taking_it_helps(
    config: Config, nodes: list[dict[str, float]], short: str
) -> None:
    with pytest.raises(Unfit) as refused:
        check_fits(config, nodes, "it")
    assert short in str(refused.value)
    values = config.model_dump()
    for key, value in re.findall(r"--set cluster\.(\w+)=([\d.]+)", str(refused.value)):
        values["cluster"][key] = int(value) if key == "workers" else float(value)
    check_fits(check(values, "test"), nodes, "it")


class _Cluster:
    """A job server on which every check job fails with this report."""

    address, token = "http://head:8265", None

    def __init__(self, report: dict[str, object]) -> None:
        self.report, self.command = report, ""

    def submit(self, job_id: str, command: str, *_: object) -> None:
        self.command = command

    def job(self, job_id: str) -> Job:
        return Job("FAILED", "it exited with 1", None, None)

    def logs(self, job_id: str) -> str:
        return f"noise\n{json.dumps(self.report)}\n"


def test_a_dataset_in_a_store_that_a_node_cannot_read_is_named_with_the_reason(tmp_path: Path) -> None:
    values = {
        "data": {"kind": "synthetic"}, "probe": {"kind": "prepared", "target": "s3://shapes/ready"}, "cluster": {"storage": "/far/storage"},
    }  # fmt: skip
    cluster = _Cluster({"nodes": 2, "unreachable": {}, "missing": [], "stores": {"s3://shapes/ready/manifest.json": "node n2: no bucket"}})
    with pytest.raises(Unfit, match=r"^probe.target: s3://shapes/ready holds no manifest.json on the cluster; .* \(node n2: no bucket\)$"):
        _check_reach(check(values, "test").resolved(tmp_path), cluster, project_tree())  # type: ignore[arg-type]
    assert cluster.command == "python -m jobs.preflight /far/storage --exists s3://shapes/ready/manifest.json"


def test_a_dataset_in_a_store_that_this_machine_cannot_read_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ADACROSSNET_PROJECT", raising=False)  # the whole project looks
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost")
    config = check({"data": {"kind": "prepared", "target": "s3://shapes/ready"}}, "test").resolved(tmp_path)
    with pytest.raises(Unfit, match=r"data.target: s3://shapes/ready holds no manifest.json.*\(AWS_ENDPOINT_URL is localhost: write http://"):
        check_local(config)


def test_a_jobs_environment_says_where_nodes_keep_copies(tmp_path: Path) -> None:
    cluster = {"cache": "fast", "cache_gb": 20, "stage_mounts": True}
    config = check({"data": {"kind": "synthetic"}, "cluster": cluster}, "test").resolved(tmp_path)
    assert staging(json.loads(config.to_json())) == {
        names.ENV_CACHE: str(tmp_path / "fast"), names.ENV_CACHE_GB: "20.0", names.ENV_STAGE_MOUNTS: "1",
    }  # fmt: skip
    assert names.ENV_CACHE not in staging({}) and names.ENV_STAGE_MOUNTS not in staging({"cluster": {"cache_gb": 50.0}})


def test_paths_that_the_cluster_does_not_see_are_named_by_their_keys(tmp_path: Path) -> None:
    values = {
        "data": {"kind": "meshes", "source": "/far/raw shapes"}, "probe": {"kind": "prepared", "target": "/far/ready"},
        "cluster": {"storage": "/far/storage"},
    }  # fmt: skip
    config = check(values, "test").resolved(tmp_path)
    cluster = _Cluster({"nodes": 2, "unreachable": {"n2": "is full"}, "missing": ["/far/raw shapes", "/far/ready/manifest.json"]})
    with pytest.raises(Unfit) as refused:
        _check_reach(config, cluster, project_tree())  # type: ignore[arg-type]
    assert cluster.command == "python -m jobs.preflight /far/storage --exists '/far/raw shapes' /far/ready/manifest.json"
    storage, source, target = str(refused.value).splitlines()
    assert storage.startswith("cluster.storage: /far/storage is not shared by all nodes: node n2 is full")
    assert source.startswith("data.source: there is no folder /far/raw shapes on the cluster")
    assert target.startswith("probe.target: /far/ready holds no manifest.json on the cluster")


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    data = {"kind": "meshes", "source": str(tmp_path / "nowhere")}
    config = check({"data": data, "cluster": {"storage": str(tmp_path)}}, "test").resolved(tmp_path)
    with pytest.raises(Unfit, match=r"data.source: there is no folder .*nowhere"):
        check_local(config)


def test_a_prepared_dataset_without_manifest_is_refused(tmp_path: Path) -> None:
    values = {"data": {"kind": "synthetic"}, "probe": {"kind": "prepared", "target": str(tmp_path)}, "cluster": {"storage": str(tmp_path)}}
    with pytest.raises(Unfit, match=r"probe.target: .* holds no manifest.json"):
        check_local(check(values, "test").resolved(tmp_path))


def test_too_little_disk_is_refused(tmp_path: Path) -> None:
    values = {"data": {"kind": "synthetic"}, "cluster": {"storage": str(tmp_path), "min_free_gb": 1e9}}
    with pytest.raises(Unfit, match=r"GB free, and cluster.min_free_gb asks"):
        check_local(check(values, "test").resolved(tmp_path))


def test_storage_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = check({"data": {"kind": "synthetic"}, "cluster": {"storage": str(tmp_path / "file" / "below")}}, "test").resolved(tmp_path)
    with pytest.raises(Unfit, match=r"cluster.storage: .* cannot be made"):
        check_local(config)


def test_more_workers_than_the_running_cluster_can_ever_give_are_refused_at_once(
    shared: tuple[Home, LocalCluster], config: Callable[..., Config]
) -> None:
    endpoint = resolve(UP, EMBEDDED, shared[0])
    assert endpoint is not None
    check_cluster(config(), endpoint, project_tree(), local=True)
    with pytest.raises(Unfit, match="asks for 8 workers"):
        check_cluster(_asking(8), endpoint, project_tree(), local=True)


def test_a_cluster_that_does_not_answer_or_refuses_the_token_is_named(
    shared: tuple[Home, LocalCluster], config: Callable[..., Config]
) -> None:
    with pytest.raises(ClusterAway, match=r"http://127.0.0.1:9 does not answer"):
        check_cluster(config(), Endpoint("http://127.0.0.1:9", "http://127.0.0.1:9", None), project_tree(), local=True)
    address = shared[1].address
    assert address is not None
    for token in (None, "wrong"):
        with pytest.raises(ClusterAway, match=r"refuses us .*RAY_AUTH_TOKEN_PATH"):
            check_cluster(config(), Endpoint(address, address, token), project_tree(), local=True)


def test_addresses_come_from_the_environment_then_the_config_then_up_then_an_own_cluster(
    home: Home, config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choose(config(), Home(tmp_path)).cluster == PRIVATE
    assert choose(config(), home).cluster == UP
    given = config().model_copy(update={"cluster": config().cluster.model_copy(update={"address": "http://head:8265"})})
    with pytest.raises(ValueError, match="no MLflow server that its nodes reach"):
        choose(given, home)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert choose(given, home).cluster == "http://head:8265"
    monkeypatch.setenv("RAY_ADDRESS", "http://other:8265")
    assert choose(given, home).cluster == "http://other:8265"
    monkeypatch.setenv("RAY_ADDRESS", "other:6379")
    with pytest.raises(ValueError, match="RAY_ADDRESS is 'other:6379'"):
        choose(given, home)


@pytest.mark.parametrize("name", ["RAY_ADDRESS", "cluster.address", "MLFLOW_TRACKING_URI", "tracking.uri"])
@pytest.mark.parametrize("others", [{}, {"RAY_ADDRESS": "http://head:8265", "MLFLOW_TRACKING_URI": "http://tracking:5000"}])
def test_an_address_with_a_password_is_refused_also_where_another_one_goes_before_it(
    name: str, others: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: dict[str, dict[str, str]] = {"data": {"kind": "synthetic"}}
    section, _, key = name.partition(".")
    for variable, address in ({**others, name: "http://me:secret@host:5000"} if not key else others).items():
        monkeypatch.setenv(variable, address)
    if key:
        values[section] = {key: "http://me:secret@host:5000"}
    with pytest.raises(ValueError, match=f"{name} holds credentials") as refused:
        choose(check(values, "test"), Home(tmp_path))
    assert "secret" not in str(refused.value)


def test_a_ledger_that_machines_share_takes_no_pipeline_for_servers_of_this_machine(
    config: Callable[..., Config], home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADACROSSNET_LEDGER", "postgresql+psycopg://me@database/ledger")
    monkeypatch.setenv("RAY_ADDRESS", "http://head:8265")
    with pytest.raises(ValueError, match=r"ADACROSSNET_LEDGER .*: set RAY_ADDRESS and MLFLOW_TRACKING_URI"):
        choose(config(), home)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert choose(config(), home).cluster == "http://head:8265"
    monkeypatch.setenv("ADACROSSNET_LEDGER", f"sqlite:///{home.path / 'ledger.sqlite'}")
    monkeypatch.delenv("RAY_ADDRESS")
    assert choose(config(), home).cluster == UP
