"""The service's settings that the files of clusters bring: the service takes them, and pipelines may name the shared folder."""
from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from service.settings import read_settings
from tests.cluster.tree import CLUSTER, documents


def of_compose() -> tuple[str, str]:
    (compose,) = documents(CLUSTER / "compose.yaml")
    service = compose["services"]["service"]
    (config,) = service["configs"]
    assert service["command"][-2:] == ["--config", config["target"]]
    return compose["configs"][config["source"]]["content"], "/shared/storage"


def of_kubernetes() -> tuple[str, str]:
    found = {one["kind"]: one for one in documents(CLUSTER / "kuberay" / "service.yaml")}
    pod = found["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    option, path = container["command"][-2:]
    (mount,) = [one for one in container["volumeMounts"] if one["mountPath"] == str(Path(path).parent)]
    (volume,) = [one for one in pod["volumes"] if one["name"] == mount["name"]]
    assert option == "--config"
    assert volume["configMap"]["name"] == found["ConfigMap"]["metadata"]["name"]
    return found["ConfigMap"]["data"][Path(path).name], "/shared/storage"


def of_ray_up() -> tuple[str, str]:
    script = (CLUSTER / "head_services.sh").read_text()
    written = re.search(r"printf '(roots.*?)\\n' \"\$shared\" \"\$shared\" > \"\$state/service.yaml\"", script)
    assert written is not None
    assert '--config "$state/service.yaml"' in script
    return written[1].replace("%s", "/mnt/adacrossnet"), "/mnt/adacrossnet/storage"


@pytest.mark.parametrize("found", [of_compose, of_kubernetes, of_ray_up], ids=lambda one: one.__name__[3:])
def test_the_service_takes_them_and_checkpoints_may_lie_in_the_shared_folder(found: object, tmp_path: Path) -> None:
    assert callable(found)
    text, storage = found()
    assert yaml.safe_load(text), "not empty: an empty file means the defaults, which allow the current folder alone"
    (tmp_path / "service.yaml").write_text(text)
    settings = read_settings(tmp_path / "service.yaml")
    assert any(Path(storage).is_relative_to(root) for root in settings.roots)
