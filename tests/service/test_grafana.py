"""The dashboard asks for metrics that the service has."""
from __future__ import annotations

import json
import re
from pathlib import Path

from tests.service.server import serving

DASHBOARD = Path(__file__).parents[2] / "cluster" / "grafana.json"


def test_every_metric_of_the_dashboard_is_exposed(tmp_path: Path) -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    expressions = " ".join(target["expr"] for panel in panels for target in panel["targets"])
    asked = set(re.findall(r"\b(?:adacrossnet|process)_\w+", expressions))
    with serving(tmp_path / "home", tmp_path / "root") as served:
        types = dict(re.findall(r"^# TYPE (\w+) (\w+)$", served.ask("GET", "/metrics").text, flags=re.MULTILINE))
    histograms = {f"{name}_bucket" for name, kind in types.items() if kind == "histogram"}
    assert len(asked) >= 8
    assert asked <= types.keys() | histograms
