"""What a person sees when a pipeline did not succeed: the error first, then the end of its log, then what to type."""
from __future__ import annotations

import re
from typing import Any

from rich.console import Console

from service.home import Home
from service.job_log import last_lines
from service.tables import CANCELLED, FAILED, Pipeline
from service.typed import shown, typed

_LINES = 30
_NONE = object()
_KEY = re.compile(r"(?<![\w/.-])[a-z]+(?:\.[a-z_]+)+")


def print_failure(pipeline: Pipeline, home: Home, console: Console) -> None:
    """Prints the message, the last lines of the job's log, and the next commands."""
    console.print(f"\n{pipeline.id} {'was cancelled' if pipeline.state == CANCELLED else 'failed'}", style="bold red", highlight=False)
    console.print(pipeline.message or "no reason is known", markup=False, highlight=False, soft_wrap=True)
    for stage in pipeline.stages:
        if stage.state in (FAILED, CANCELLED) and stage.attempts:
            path = home.log(pipeline.id, stage.name, stage.attempts[-1].number)
            if path.exists():
                console.print(f"\nthe end of {shown(str(path))}:", highlight=False, soft_wrap=True)
                console.print(last_lines(path.read_text(), _LINES), markup=False, highlight=False, style="dim", soft_wrap=True)
    print_orders(pipeline.id, pipeline.state, pipeline.message, pipeline.config, console)


def print_orders(pipeline: str, state: str, message: str | None, config: dict[str, Any], console: Console) -> None:
    """The commands that make sense after a failure: `resume` replays the stored config, so a fault in that takes a new pipeline."""
    key = _config_key(message or "", config) if state == FAILED else None
    lines = [f"adacrossnet resume {pipeline}", f"adacrossnet logs {pipeline}"]
    if key:
        lines[0] += "     # the same config again: when the cause lay outside it"
        lines.insert(0, f"adacrossnet run CONFIG --set {key}=VALUE     # a pipeline keeps its config: another value is a new one")
    cause = key or state != FAILED
    console.print(f"\nNext{'' if cause else ', when the cause is gone'}:", highlight=False)
    for line in lines:
        console.print(f"  {typed(line)}", highlight=False, markup=False, soft_wrap=True)


def _config_key(message: str, config: dict[str, Any]) -> str | None:
    """The first key of the config that the message names (`pretrain.optimizer.lr`), if any."""
    for match in _KEY.finditer(message):
        value: Any = config
        for part in match[0].split("."):
            value = value.get(part, _NONE) if isinstance(value, dict) else _NONE
        if value is not _NONE:
            return match[0]
    return None
