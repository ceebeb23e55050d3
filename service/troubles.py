"""What a person sees when a pipeline did not succeed: the error first, then the end of its log, then what to type."""
from __future__ import annotations

from rich.console import Console

from service.home import Home
from service.job_log import last_lines
from service.report import shown
from service.tables import CANCELLED, FAILED, Pipeline

_LINES = 30


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
    console.print(f"\nNext, when the cause is gone:\n  adacrossnet resume {pipeline.id}", highlight=False)
    console.print(f"  adacrossnet logs {pipeline.id}", highlight=False)
