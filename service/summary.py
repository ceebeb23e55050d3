"""What a pipeline came to: `summary.json` and its pictures, put together from the artifacts of its stages' MLflow runs."""
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from jobs.config.sections import Tracking
from service.home import Home
from service.mlflow_runs import Runs
from service.tables import Pipeline

REPORT, PAGE, BEST = "report.md", "report.html", "best.yaml"  # of a sweep


def collect(pipeline: Pipeline, runs: Runs, home: Home) -> dict[str, Any]:
    """Downloads facts and pictures, writes `pipelines/<id>/summary.json`, points `latest` to that folder, returns the summary.

    A stage that left no facts leaves its part out. Raises TrackingAway when MLflow does not answer.
    """
    folder = home.results(pipeline.id)
    folder.mkdir(parents=True, exist_ok=True)
    facts: dict[str, dict[str, Any]] = {}
    pictures: list[str] = []
    for stage in pipeline.stages:
        if stage.run_id is None:
            continue
        facts[stage.name] = runs.read_json(stage.run_id, f"{stage.name}.json") or {}
        pictures += [str(path) for path in runs.download(stage.run_id, "pictures", folder) if path.suffix in (".png", ".html")]
        if stage.name == "sweep" and facts["sweep"]:
            fetch_report(stage.run_id, runs, folder)
    trained = facts.get("pretrain", {})
    experiment = runs.experiment(experiment_of(pipeline))
    summary: dict[str, Any] = {
        "pipeline": pipeline.id,
        "state": pipeline.state,
        "stages": {stage.name: {"seconds": _rounded(stage.seconds), "state": stage.state} for stage in pipeline.stages},
        "scores": facts.get("evaluate", {}).get("scores", {}),
        "protocol": facts.get("evaluate", {}).get("protocol", {}),
        "evaluations": {name: found for name, found in facts.items() if "headline" in found},
        "loss": {"before": trained.get("loss_before"), "after": trained.get("loss_after")},
        "weights": trained.get("weights", {}),
        "clouds_per_s": trained.get("clouds_per_s"),
        "model": {key: (facts.get("register") or facts.get("sweep", {}).get("model") or {}).get(key) for key in ("name", "version")},
        "sweep": facts.get("sweep"),
        "suite": (facts.get("prepare", {}).get("suite") or {}).get("label"),
        "pictures": sorted(set(pictures)),
        "mlflow": runs.url(experiment, pipeline.run_id),
    }
    path = folder / "summary.json"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(summary, indent=1))
    os.replace(temporary, path)
    _point(home.path / "latest", folder)
    return summary


def fetch_report(run: str, runs: Runs, folder: Path) -> None:
    """Copies a sweep's report and best setting below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (REPORT, PAGE, BEST):
        runs.fetch(run, name, folder)


def experiment_of(pipeline: Pipeline) -> str:
    """The MLflow experiment of a pipeline, also when its stored config no longer fits the schema."""
    return str((pipeline.config.get("tracking") or {}).get("experiment") or Tracking().experiment)


def read(pipeline: str, home: Home) -> dict[str, Any] | None:
    """The summary that was written when the pipeline ended; none without one."""
    try:
        value: dict[str, Any] = json.loads((home.results(pipeline) / "summary.json").read_text())
    except FileNotFoundError:
        return None
    return value


def _point(link: Path, target: Path) -> None:
    temporary = link.with_name(f".{link.name}-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(target, link.parent))
    os.replace(temporary, link)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
