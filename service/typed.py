"""The command as it can be typed here: after `make run` it stands in `.venv/bin`, which is not on PATH."""
from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

_NAME = "adacrossnet"
_COMMAND = re.compile(rf"(?<![\w/.-]){_NAME} (?=[a-z])")


def typed(text: str) -> str:
    """`text` with each `adacrossnet COMMAND` in it as it works in the current folder."""
    if shutil.which(_NAME) or Path(sys.argv[0]).name != _NAME:
        return text
    return _COMMAND.sub(lambda _: f"{shown(sys.argv[0])} ", text)


def shown(path: str) -> str:
    """A path as short as it can be typed from here."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else str(Path(relative))
