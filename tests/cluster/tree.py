"""The project's files that a cluster is made from, as the tests read them."""
from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
PAGES = ROOT / "docs" / "clusters"


def documents(path: Path) -> list[dict[str, Any]]:
    """The YAML documents of a file."""
    return [one for one in yaml.safe_load_all(path.read_text()) if one is not None]


def pins() -> dict[str, str]:
    """Package -> the version that constraints.txt pins, by normalised name."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {normal(name): version for name, _, version in (line.partition("==") for line in lines if "==" in line)}


def normal(name: str) -> str:
    """A package's name as indexes compare it, without extras."""
    return re.sub(r"[-_.]+", "-", name.split("[")[0].strip()).lower()


def extras() -> dict[str, list[str]]:
    """The optional dependencies of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project["optional-dependencies"]


def typed_in(page: Path) -> str:
    """Every fenced block of a page: what is typed."""
    return "\n".join(re.findall(r"^```\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL))
