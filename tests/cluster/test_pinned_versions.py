"""Versions named in files of a cluster and in their pages are those of constraints.txt."""
from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.cluster.tree import CLUSTER, PAGES, extras, normal, pins

_ALL = (*sorted(CLUSTER.rglob("*")), *sorted(PAGES.glob("*.md")))
FILES = [path for path in _ALL if path.is_file() and not path.suffix.startswith(".py") and path.parent.name != "secrets"]
NAMED = re.compile(r"\b(ray|torch|mlflow)(?:[-=:]{0,2}|Version: \"?)(\d+\.\d+\.\d+)")
IMAGE = re.compile(r"(?:^|[\s/])adacrossnet:([\w.-]+\w)", re.MULTILINE)


def test_there_are_versions_to_compare() -> None:
    assert sum(len(NAMED.findall(path.read_text())) for path in FILES) > 10


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_version_that_a_file_names_is_the_pinned_one(path: Path) -> None:
    for package, version in NAMED.findall(path.read_text()):
        assert version == pins()[package], f"{path.name}: {package} {version}"


def test_the_image_is_named_after_the_versions_that_are_in_it() -> None:
    expected = f"ray{pins()['ray']}-torch{pins()['torch']}"
    found = {tag for path in FILES for tag in IMAGE.findall(path.read_text())}
    assert found == {expected}
    assert f"newTag: {expected}\n" in (CLUSTER / "kuberay" / "kustomization.yaml").read_text()


def test_rays_operator_is_told_the_pinned_version() -> None:
    assert f'rayVersion: "{pins()["ray"]}"\n' in (CLUSTER / "kuberay" / "raycluster.yaml").read_text()


def test_one_postgresql_is_named_everywhere() -> None:
    found = {image for path in FILES for image in re.findall(r"postgres:\d\S*", path.read_text())}
    assert len(found) == 1


def test_one_cuda_base_is_named_everywhere() -> None:
    found = {image for path in FILES for image in re.findall(r"nvidia/cuda:[\w.-]+\w", path.read_text())}
    assert len(found) == 1


def test_every_optional_package_is_pinned_within_its_range() -> None:
    for name, wanted in extras().items():
        for line in wanted:
            requirement = Requirement(line)
            if requirement.name == "adacrossnet":
                assert requirement.extras <= set(extras()), name
                continue
            pinned = pins().get(normal(requirement.name))
            assert pinned is not None, f"{name}: {line}"
            assert requirement.specifier.contains(pinned), f"{name}: {line}, pinned {pinned}"
