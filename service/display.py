"""How a running pipeline looks: a live table of its stages in a terminal, plain lines elsewhere."""
from __future__ import annotations

import os
import time
from collections.abc import Mapping

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from service.tables import CANCELLED, ENDED, FAILED, QUEUED, RUNNING, SUCCEEDED, Pipeline, Stage

_EVERY_S = 5.0  # between two plain progress lines of one stage
_WIDE = 1000  # characters
_STILL_S = 10.0  # the same line again after this long: a reader sees that it lives
_MARK = {SUCCEEDED: "[green]✓[/]", FAILED: "[red]✗[/]", CANCELLED: "[yellow]■[/]", QUEUED: "[dim]·[/]"}


class Display:
    """Shows a pipeline each time it is told its state and the running stages' latest lines. Use as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=8) if console.is_terminal else None
        self._spinner = Spinner("dots")
        self._states: dict[str, str] = {}
        self._printed: dict[str, tuple[float, str]] = {}  # stage -> when, and the line
        self._message: str | None = None  # what was last said of the whole pipeline
        self._begun = time.monotonic()

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, pipeline: Pipeline, lines: Mapping[str, str]) -> None:
        """`lines`: what running stages say of themselves, those that say something."""
        if self._live is not None:
            self._live.update(self._table(pipeline, lines))
        else:
            self._print(pipeline, lines)

    def _table(self, pipeline: Pipeline, lines: Mapping[str, str]) -> Table:
        table = Table.grid(padding=(0, 1))
        for stage in pipeline.stages:
            mark = self._spinner if stage.state == RUNNING else Text.from_markup(_MARK[stage.state])
            says = lines.get(stage.name, "starting") if stage.state == RUNNING else stage.message or ""
            table.add_row(mark, stage.name, Text(clock(seconds_of(stage)), justify="right"), Text(says, overflow="ellipsis", no_wrap=True))
        if pipeline.message and pipeline.state not in ENDED:
            table.add_row("", "", "", Text(pipeline.message, style="yellow"))
        return table

    def _print(self, pipeline: Pipeline, lines: Mapping[str, str]) -> None:
        now = time.monotonic()
        message = pipeline.message if pipeline.state not in ENDED else None
        if message != self._message:  # once: it may stand for hours
            self._message = message
            if message:
                self._say("pipeline", message)
        for stage in pipeline.stages:
            if self._states.get(stage.name, QUEUED) != stage.state:
                self._states[stage.name] = stage.state
                self._printed[stage.name] = (now - _EVERY_S, "starting")  # its first line is printed at once
                ended = {SUCCEEDED: f"done in {clock(stage.seconds)}", FAILED: f"failed: {stage.message}"}
                said = "started" if stage.state == RUNNING else ended.get(stage.state, stage.state)
                self._say(stage.name, said)
            if stage.state == RUNNING:
                text = lines.get(stage.name, "starting")
                when, before = self._printed[stage.name]
                if now - when >= (_STILL_S if text == before else _EVERY_S):
                    self._say(stage.name, text)
                    self._printed[stage.name] = (now, text)

    def _say(self, stage: str, text: str) -> None:
        since = clock(time.monotonic() - self._begun)
        self._console.print(f"[{since:>7}] {stage:<8} {text}", markup=False, highlight=False, soft_wrap=True)


def wide_console(stderr: bool = False) -> Console:
    """Where no terminal says how wide it is, lines are as long as they need to be: a file or a pipe gets whole words."""
    console = Console(stderr=stderr)
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(stderr=stderr, width=_WIDE)


def seconds_of(stage: Stage) -> float | None:
    """Seconds a stage took, or has run so far; none before it starts."""
    if stage.state == RUNNING and stage.attempts and stage.attempts[-1].started:
        return time.time() - stage.attempts[-1].started
    return stage.seconds


def clock(seconds: float | None) -> str:
    """`42 s`, `3:07`, `1:02:03`; '' for none."""
    if seconds is None:
        return ""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
