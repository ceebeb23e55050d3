"""How `top` looks: the cluster in a line, what runs, what waits."""
from __future__ import annotations

import time
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from service.display import clock


def screen(seen: dict[str, Any]) -> Group:
    """Of what the service tells: `cluster`, `running` and `queue`."""
    cluster, running, queue = seen["cluster"], seen["running"], seen["queue"]
    head = Text.assemble((seen["where"], "bold"), f"  {time.strftime('%H:%M:%S')}  ", _has(cluster))
    counts = "  ".join(f"{count} {state}" for state, count in cluster["pipelines"].items() if count) or "no pipelines yet"
    return Group(head, Text(counts, style="dim"), Text(""), _running(running), Text(""), _queue(queue))


def _has(cluster: dict[str, Any]) -> Text:
    if not cluster["answers"]:
        return Text(cluster["message"], style="yellow")
    kinds = [kind for kind in ("CPU", "GPU") if any(kind in node for node in cluster["nodes"])]
    have = ", ".join(f"{sum(node.get(kind, 0) for node in cluster['nodes']):g} {kind}" for kind in kinds)
    nodes = f"{len(cluster['nodes'])} node{'s'[: len(cluster['nodes']) != 1]}"
    return Text(f"{nodes}, {have}{', autoscaling' if cluster['autoscales'] else ''}", style="green")


def _running(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="Running", title_justify="left", box=None, padding=(0, 2, 0, 0), title_style="bold")
    for column in ("pipeline", "owner", "stage", "took", "says"):
        table.add_column(column, no_wrap=True, overflow="ellipsis", ratio=1 if column == "says" else None)
    for row in rows:
        stages = [stage for stage in row["stages"] if stage["state"] == "running"]
        for number, stage in enumerate(stages or [None]):
            name = (row["pipeline"], row["owner"]) if number == 0 else ("", "")
            if stage is None:
                table.add_row(*name, "", "", Text(row["message"] or "between two stages"))
            else:
                says = row["says"].get(stage["name"]) or row["message"] or "starting"
                table.add_row(*name, stage["name"], clock(stage["seconds"]), Text(says))
    if not rows:
        table.add_row("nothing", "", "", "", "")
    return table


def _queue(queue: dict[str, Any]) -> Table:
    title = f"Waiting: {queue['length']}" if queue["length"] else "Waiting: nothing"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), title_style="bold", show_header=bool(queue["first"]))
    for column in ("pipeline", "owner", "priority", "waits for"):
        table.add_column(column, no_wrap=True, overflow="ellipsis", ratio=1 if column == "waits for" else None)
    for row in queue["first"]:
        table.add_row(row["pipeline"], row["owner"], str(row["priority"]), Text((row["message"] or "").partition("\n")[0]))
    return table
