"""A summary as a person reads it: scores beside random weights, losses, weights, speed, pictures, the model, what to type next."""
from __future__ import annotations

import math
import statistics
from typing import Any

from rich.console import Console
from rich.table import Table

from service.home import Home
from service.summary import read
from service.typed import shown, typed


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Prints what is there; a part that a stage did not leave is shown as `-`."""
    if summary.get("sweep"):
        _print_sweep(summary, console)
        return
    if summary.get("suite"):
        _print_suite(summary, console)
        return
    scores = summary["scores"]
    table = Table(title="Linear SVM on frozen features: accuracy, and balanced over classes", title_justify="left")
    for column in ("encoder", "C", "val", "val balanced", "test", "test balanced"):
        table.add_column(column, justify="left" if column == "encoder" else "right")
    for label, one in _rows(scores):
        cells = [_score(one.get(split), key) for split in ("val", "test") for key in ("accuracy", "balanced_accuracy")]
        table.add_row(label, _number(one.get("c"), "g"), *cells)
    if scores:
        console.print(table)
        console.print(_difference(summary), highlight=False, soft_wrap=True)
        if summary["protocol"].get("epoch_selected_on", "validation") != "validation":
            console.print("the epoch was selected on the TEST split, as published: the test score is not comparable with others")
    if summary.get("evaluations"):
        console.print(_evaluations(summary["evaluations"], "Further evaluations"))
    loss, weights, model = summary["loss"], summary["weights"], summary["model"]
    facts = [
        ("loss", f"{_number(loss['before'])} before, {_number(loss['after'])} after (intra + cross)"),
        ("weights", f"intra {_number(weights.get('intra'))}, cross {_number(weights.get('cross'))}"),
        ("speed", f"{_number(summary['clouds_per_s'], '.1f')} clouds/s"),
        ("stages", ", ".join(f"{name} {_number(one['seconds'], '.0f')} s" for name, one in summary["stages"].items())),
    ]
    if model["name"]:
        facts.append(("model", f"{model['name']} version {model['version']}"))
    facts += [("" if index else "pictures", shown(picture)) for index, picture in enumerate(summary["pictures"])]
    for label, value in facts:  # lines, not a table: a path is never cut to the terminal's width
        console.print(f"{label:<9} {value}", highlight=False, markup=False, soft_wrap=True)


def print_what_there_is(pipeline: str, home: Home, console: Console) -> None:
    """Of a pipeline that did not succeed: the evaluations that did."""
    found = (read(pipeline, home) or {}).get("evaluations")
    if found:
        console.print(_evaluations(found, "What has ended well"))


def _evaluations(found: dict[str, dict[str, Any]], title: str) -> Table:
    """A row a headline metric of each evaluation; the gain is paired, with its 95% interval."""
    table = Table(title=title, title_justify="left")
    for column in ("task", "dataset", "metric", "trained", "random weights", "gain (95%)"):
        table.add_column(column, justify="right" if column in ("trained", "random weights") else "left")
    for stage, facts in found.items():
        for metric in facts["headline"]:
            gain = facts.get("gains", {}).get(metric)
            said = f"{gain['mean']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})" if gain else "-"
            of = [facts["scores"].get(encoder) or {} for encoder in ("trained", "random")]
            values = [_number(one.get(metric, (one.get("test") or {}).get(metric))) for one in of]  # of the SVM by splits
            table.add_row(stage, facts["protocol"]["dataset"], metric.replace("_", " ").replace("miou", "mIoU"), *values, said)
    return table


def _print_suite(summary: dict[str, Any], console: Console) -> None:
    if summary.get("evaluations"):
        console.print(_evaluations(summary["evaluations"], f"Scores of {summary['suite']}"))
    facts = [("stages", ", ".join(f"{name} {_number(one['seconds'], '.0f')} s" for name, one in summary["stages"].items()))]
    facts += [("" if index else "pictures", shown(picture)) for index, picture in enumerate(summary["pictures"])]
    for label, value in facts:
        console.print(f"{label:<9} {value}", highlight=False, markup=False, soft_wrap=True)


def _print_sweep(summary: dict[str, Any], console: Console) -> None:
    found, model = summary["sweep"], summary["model"]
    shapes = {split: found["shapes"][split] for split in ("val", "test")}
    title = " and ".join(f"{count} {split}" for split, count in shapes.items() if count)
    table = Table(title=f"Confirmation: balanced accuracy on {title} shapes", title_justify="left")
    for column in ("strategy", "values", "seeds", *shapes):
        table.add_column(column, justify="left" if column in ("strategy", "values") else "right")
    for name, runs in found["confirm"].items():
        values = ", ".join(f"{key} {_value(value)}" for key, value in found["best"].get(name, {}).items())
        means = [_mean_and_deviation([(one[split] or {}).get("balanced_accuracy") for one in runs]) for split in shapes]
        table.add_row(name, values or "-", str(len(runs)), *means)
    console.print(table)
    stages = ", ".join(f"{name} {_number(one['seconds'], '.0f')} s" for name, one in summary["stages"].items())
    facts = [("verdict", found["verdict"]), ("stages", stages), ("model", f"{model['name']} version {model['version']}")]
    facts += [("" if index else "pictures", shown(picture)) for index, picture in enumerate(summary["pictures"])]
    for label, value in facts:
        console.print(f"{label:<9} {value}", highlight=False, markup=False, soft_wrap=True)


def print_next(summary: dict[str, Any], console: Console, private: bool) -> None:
    """The commands that make sense now; the embedded cluster of a `run` is gone, so MLflow is looked at through `up`."""
    pipeline, model = summary["pipeline"], summary["model"]
    lines = [f"adacrossnet show {pipeline}"]
    if summary.get("sweep"):
        lines.append(f"adacrossnet report {pipeline}")
    if private:
        lines.append("adacrossnet up          # MLflow with the curves, and a cluster to submit to")
    if model["name"] and not summary.get("sweep"):
        lines.append(f"adacrossnet reproduce {model['name']}/{model['version']}")
    if model["name"]:
        lines.append(f"adacrossnet embed models:/{model['name']}/{model['version']} FOLDER features.parquet")
    console.print("\nNext:")
    for line in lines:
        console.print(f"  {typed(line)}", highlight=False, soft_wrap=True)


def _rows(scores: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The table's rows; the published C and the uncalibrated random encoder only where they were judged."""
    trained, random = scores.get("trained") or {}, scores.get("random") or {}
    fixed, uncalibrated = trained.get("fixed_c") or {}, scores.get("random_uncalibrated")
    rows = [("trained", trained)]
    if fixed.get("test"):
        rows.append(("trained, published C", fixed))
    rows.append(("random weights", random))
    return [*rows, ("random, uncalibrated", uncalibrated)] if uncalibrated else rows


def _difference(summary: dict[str, Any]) -> str:
    """How far the trained encoder is from the random one on test, and how much of it chance explains."""
    shapes = (summary["protocol"].get("shapes") or {}).get("test", 0)
    trained, random = ((summary["scores"].get(name) or {}).get("test") or {} for name in ("trained", "random"))
    if not (shapes and trained and random):
        return ""
    rates = trained["accuracy"], random["accuracy"]
    error = math.sqrt(sum(rate * (1 - rate) for rate in rates) / shapes)  # as if the two were judged on shapes of their own
    gain = rates[0] - rates[1]
    verdict = "within noise" if abs(gain) < 2 * error else "more than two standard errors"
    return f"test accuracy, trained minus random: {gain:+.3f}, standard error {error:.3f} ({shapes} shapes): {verdict}"


def _mean_and_deviation(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.mean(known):.3f} ± {statistics.stdev(known):.3f}" if len(known) > 1 else "-"


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _score(split: dict[str, float] | None, key: str) -> str:
    return _number((split or {}).get(key))


def _number(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else format(value, form)
