"""What a job's log says: its latest progress line, and after a failure the error itself."""
from __future__ import annotations

import itertools
import re

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_WORKER = re.compile(r"^\((?:[\w.:-]+ )?(?:pid=\d+)(?:, ip=[\d.a-fA-F:]+)?\)\s*")  # `(RayTrainWorker pid=12, ip=10.0.0.1) `
_KINDS = r"Error|Exception|Interrupt|Failure|Exit|Killed"
_MORE = 8  # lines of a message after its first
_ERROR = re.compile(rf"^(?:ray\.exceptions\.RayTaskError\()?((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:{_KINDS}))\)?: ?(.*)$")


def clean(line: str) -> str:
    """The line without colours and without Ray's `(RayTrainWorker pid=…)` in front."""
    return _WORKER.sub("", _ANSI.sub("", line.replace("\0", ""))).rstrip()  # no database takes a NUL


def latest_progress(log: str, stage: str) -> str | None:
    """The last line that the stage printed about itself (`pretrain: epoch 3/12 …`), without the stage's name; none so far: None."""
    for line in reversed(log.splitlines()):
        text = clean(line)
        if text.startswith(f"{stage}: "):
            return text.removeprefix(f"{stage}: ")
    return None


def error_in(log: str, stage: str) -> str:
    """What the stage said last of its error, up to a blank line; else the last exception's message; else the last line; '' without any."""
    lines = [clean(line) for line in log.splitlines()]
    prefix = f"{stage}: error: "
    for index in range(len(lines) - 1, -1, -1):
        if lines[index].startswith(prefix):
            said = [lines[index].removeprefix(prefix), *lines[index + 1 : index + 1 + _MORE]]
            return "\n".join(itertools.takewhile(bool, said))
    for index in range(len(lines) - 1, -1, -1):
        match = _ERROR.match(lines[index])
        if match:
            kind, message = match[1].rpartition(".")[2], match[2]
            rest = []
            for line in lines[index + 1 : index + 1 + _MORE]:
                if not line or line.startswith(("Traceback", "  File", "The above", "During handling")):
                    break
                rest.append(line)
            plain = kind in ("ValueError", "ConfigError", "RuntimeError", "SystemExit") and message  # written for people
            return "\n".join([message if plain else f"{kind}: {message}", *rest])
    return next((line for line in reversed(lines) if line.strip()), "")


def last_lines(log: str, count: int) -> str:
    """The last `count` lines, cleaned."""
    return "\n".join(clean(line) for line in log.splitlines()[-count:])
