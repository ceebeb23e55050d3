"""The image: what it copies is there, what it installs is named in pyproject.toml, nobody runs as root."""
from __future__ import annotations

import re

from tests.cluster.tree import CLUSTER, ROOT, documents, extras

TEXT = (CLUSTER / "Dockerfile").read_text()
IGNORE = (CLUSTER / "Dockerfile.dockerignore").read_text().splitlines()


def instructions(name: str) -> list[str]:
    """The arguments of each instruction of this name, continued lines joined."""
    joined = re.sub(r"\\\n", " ", TEXT)
    return re.findall(rf"^{name} (.*)$", joined, re.MULTILINE)


def copied() -> list[str]:
    return [source for line in instructions("COPY") for source in line.split()[:-1]]


def test_everything_that_is_copied_exists_and_is_let_into_the_build() -> None:
    assert copied()
    for source in copied():
        assert (ROOT / source).exists(), source
        assert f"!{source}" in IGNORE, source


def test_nothing_else_is_let_into_the_build_and_secrets_never() -> None:
    assert {line[1:] for line in IGNORE if line.startswith("!")} == set(copied())
    assert "*" in IGNORE
    assert IGNORE.index("cluster/secrets") > IGNORE.index("!cluster"), "later lines win"


def test_folders_that_the_editable_install_takes_are_copied() -> None:
    packages = re.search(r"^packages = \[(.*)\]  # editable", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert packages is not None
    assert set(re.findall(r'"(\w+)"', packages[1])) | {"configs"} <= set(copied())


def test_packages_are_those_of_the_project_pinned_and_torch_is_first() -> None:
    installs = [one for line in instructions("RUN") for one in re.findall(r"pip install[^&]*", line)]
    assert len(installs) == 2
    assert all("-c constraints.txt" in one for one in installs)
    assert installs[0].split()[-1] == "torch"
    assert "-e" in installs[1]


def test_extras_are_named_in_pyproject() -> None:
    (named,) = re.findall(r'^ARG EXTRAS="([\w,-]+)"', TEXT, re.MULTILINE)
    assert set(named.split(",")) <= set(extras())
    assert '-e ".[${EXTRAS}]"' in TEXT


def test_the_tree_lies_where_the_manifests_look_for_it() -> None:
    (folder,) = instructions("WORKDIR")
    assert folder == "/opt/adacrossnet"
    (job,) = documents(CLUSTER / "kuberay" / "rayjob.yaml")
    assert job["spec"]["entrypoint"].startswith(f"cd {folder} && ")


def test_nobody_runs_as_root_and_the_number_is_that_of_the_manifests() -> None:
    assert instructions("USER") == ["adacrossnet"]
    assert TEXT.index("\nUSER ") > TEXT.index("\nCOPY configs")
    (number,) = re.findall(r"^ARG USER_ID=(\d+)", TEXT, re.MULTILINE)
    for name in ("raycluster", "mlflow", "service"):
        assert f"runAsUser: {number}" in (CLUSTER / "kuberay" / f"{name}.yaml").read_text()


def test_both_bases_are_one_build_argument() -> None:
    assert instructions("FROM") == ["${BASE}"]
    assert re.search(r"^ARG BASE=python:3\.1[1-9]-slim", TEXT, re.MULTILINE)
    assert "--build-arg BASE=nvidia/cuda:" in TEXT


def test_what_the_health_checks_call_is_installed() -> None:
    packages = " ".join(instructions("RUN"))
    checks = (CLUSTER / "compose.yaml").read_text()
    for program in set(re.findall(r"test: \[CMD, (\w+)", checks)) - {"pg_isready"}:
        assert re.search(rf"apt-get install [^&]*\b{program}\b", packages), program
