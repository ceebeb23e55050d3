"""Commands and environment that the files of clusters and their pages use: the command line knows them, and the code reads them."""
from __future__ import annotations

import re
from typing import Any

import pytest
import typer.main

from service.cli import app
from tests.cluster.tree import CLUSTER, PAGES, ROOT, documents, typed_in

LINES = "\n".join([
    *(typed_in(page) for page in sorted(PAGES.glob("*.md"))),
    (CLUSTER / "head_services.sh").read_text().replace("\\\n", " "),
    (CLUSTER / "slurm.sbatch").read_text(),
    *(" ".join(one["command"]) for one in documents(CLUSTER / "compose.yaml")[0]["services"].values()
      if one.get("command", [""])[0] == "adacrossnet"),
    *re.findall(r"command: \[(adacrossnet.*)\]", (CLUSTER / "kuberay" / "service.yaml").read_text().replace(",", "")),
])  # fmt: skip
COMMANDS = sorted({one.strip() for one in re.findall(r"(?:^|[\s/\"(-])adacrossnet\"? ((?:[a-z]+)(?: [^\n|#&;>()]*)?)", LINES)})
OURS = {"ADACROSSNET_DRY_RUN"}  # of the scripts themselves
COMPOSE = set(re.findall(r"\$\{(ADACROSSNET_\w+)", (CLUSTER / "compose.yaml").read_text()))


def test_there_are_commands_to_check() -> None:
    assert {"serve", "token", "submit", "run", "resume", "cancel", "list", "show", "logs"} <= {one.split()[0] for one in COMMANDS}


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_and_option_is_known(line: str) -> None:
    known: Any = typer.main.get_command(app)
    words = line.replace('"', " ").split()
    while words and hasattr(known, "commands"):
        word = words.pop(0)
        assert word in known.commands, f"{line}: {word}"
        known = known.commands[word]
    options = {option for parameter in known.params for option in parameter.opts}
    for option in (word for word in words if word.startswith("--")):
        assert option.split("=")[0] in options, f"{line}: {option}"


_SUFFIXES = (".yaml", ".sh", ".sbatch", ".md")
_FILES = [path for folder in (CLUSTER, PAGES) for path in folder.rglob("*") if path.suffix in _SUFFIXES]
_TEXT = "\n".join(re.sub(r"(^|\s)# .*$", "", path.read_text(), flags=re.MULTILINE) for path in _FILES)  # without comments
NAMES = sorted(set(re.findall(r"\bADACROSSNET_[A-Z_]+\b", _TEXT)) - OURS - COMPOSE)


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_that_is_set_is_read(name: str) -> None:
    read = [path for folder in ("service", "jobs", "cluster") for path in (ROOT / folder).rglob("*.py") if f'"{name}"' in path.read_text()]
    assert read
