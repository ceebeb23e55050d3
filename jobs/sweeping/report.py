"""A sweep's report, as Markdown and as one self-contained HTML page: the confirmation alone; the search says how it got there."""
from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment

from jobs.config.sweep import BASELINE, UNTRAINED
from jobs.evaluation.paired import Difference, differences
from jobs.sweeping import children

CAPTIONS = {
    "confirmed": "Balanced accuracy on held-out shapes that the search never used, a dot a seed.",
    "weights": "Loss weights over one confirming training, of the best strategy beside the baseline and of the static baseline.",
    "curves": "Each searching trial's validation score, with a cross where it was stopped early.",
    "objective": "Best validation score of each searching trial against each searched value.",
    "parallel": "Values and score of each searching trial.",
}
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ name }}: weighting of the losses</title><style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid #ccc; padding: .3rem .7rem; text-align: right } th:first-child, td:first-child { text-align: left }
.demo { background: #fff3cd; border: 1px solid #e0c060; padding: .6rem 1rem } img { max-width: 100% }
figcaption { color: #555; font-size: .9rem } .verdict { font-weight: 600 }
</style></head><body>
<h1>{{ name }}: weighting of the losses</h1>
{% if demonstration %}<p class="demo">A demonstration: too few shapes, epochs and seeds to say anything about weighting.</p>{% endif %}
<p class="verdict">{{ verdict }}</p>
{% for line in about %}<p>{{ line }}</p>
{% endfor %}
{% for title, head, rows in tables %}<h2>{{ title }}</h2>
<table><thead><tr>{% for cell in head %}<th>{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table>
{% endfor %}
{% for caption, data in pictures %}<figure><img alt="{{ caption }}" src="data:image/png;base64,{{ data }}">
<figcaption>{{ caption }}</figcaption></figure>
{% endfor %}
</body></html>
"""

Table = tuple[str, list[str], list[list[str]]]  # title, head, rows


def markdown(found: dict[str, Any]) -> str:
    """The report as Markdown, without pictures."""
    parts = [f"# {found['name']}: weighting of the losses"]
    if found["demonstration"]:
        parts.append("**A demonstration: too few shapes, epochs and seeds to say anything about weighting.**")
    parts += [f"**{verdict(found)}**", *about(found)]
    for title, head, rows in tables(found):
        lines = [_row(head), _row(["---"] * len(head)), *map(_row, rows)]
        parts.append(f"## {title}\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def html(found: dict[str, Any], images: dict[str, Path]) -> str:
    """The report as a page that needs no other file."""
    pictures = [(CAPTIONS[name], base64.b64encode(images[name].read_bytes()).decode()) for name in CAPTIONS if name in images]
    page = Environment(autoescape=True).from_string(PAGE)
    return page.render(
        name=found["name"],
        demonstration=found["demonstration"],
        verdict=verdict(found),
        about=about(found),
        tables=tables(found),
        pictures=pictures,
    )


def verdict(found: dict[str, Any]) -> str:
    """One sentence: what the confirmation says of the strategies against the tuned static weights."""
    level = found["confidence"]
    said = {name: one.verdict(level) for name, one in compared(found).items()}
    apart = [f"{name} is {word}" for name, word in said.items() if word != "within noise"]
    noise = [name for name, word in said.items() if word == "within noise"]
    parts = apart + ([f"{', '.join(noise)} {'is' if len(noise) == 1 else 'are'} within noise of it"] if noise else [])
    said_of_all = "; ".join(parts) or "nothing to compare"
    return f"Against tuned static weights, on {_judged(found)} shapes and {_seeds(found)} seeds: {said_of_all}."


def about(found: dict[str, Any]) -> list[str]:
    """How the numbers came about."""
    spent, whole = found["search_epochs"]["spent"], found["search_epochs"]["whole"]
    search = [one for trials in found["search"].values() for one in trials]
    stopped = sum(one["outcome"] == children.STOPPED for one in search)
    shapes = found["shapes"]
    scale = "weights are used as each strategy gives them, so that differences hold the scale of the loss as well as balance"
    if found["normalise"]:
        scale = "weights are scaled to a constant sum, so strategies differ in balance and not in the scale of the loss"
    return [
        f"Dataset {found['dataset']['name']} ({found['dataset']['digest']}): {shapes['train']} train, {shapes['val']} validation and "
        f"{shapes['test']} test shapes; {found['backbone']}, {found['epochs']} epochs; {scale}.",
        f"Search: {len(search)} trials ({found['method']}, {found['scheduler']}), {stopped} of them stopped early, {spent} epochs of the "
        f"{whole} that they would take to their ends ({100 * spent / max(1, whole):.0f}%); chosen by validation balanced accuracy.",
        f"Confirmation: each strategy's best setting to its end on {_seeds(found)} fresh seeds shared by all; the linear SVM's C is chosen "
        f"on validation, the test split is looked at once a training. Took {found['seconds'] / 60:.0f} min in all.",
    ]


def compared(found: dict[str, Any]) -> dict[str, Difference]:
    """Each trained strategy against the baseline, on held-out balanced accuracy, seed by seed."""
    scores = {name: _scores(runs) for name, runs in found["confirm"].items() if name != UNTRAINED}
    return differences(scores, BASELINE, found["confidence"])


def tables(found: dict[str, Any]) -> list[Table]:
    """The confirmation, the differences to the baseline, and the settings found."""
    rows = []
    for name, runs in _ordered(found["confirm"]).items():
        held_out, val = np.array(_scores(runs)), np.array([one["val"]["balanced_accuracy"] for one in runs])
        cost = sum(one["seconds"] for one in runs) / 60
        label = f"{name} (random weights)" if name == UNTRAINED else f"{name} (baseline)" if name == BASELINE else name
        rows.append([label, _spread(held_out), _spread(val), "-" if name == UNTRAINED else f"{cost:.1f}"])
    level = f"{100 * found['confidence']:.0f}%"
    apart = [
        [name, f"{one.mean:+.3f}", f"{one.deviation:.3f}", f"{one.low:+.3f} to {one.high:+.3f}", f"{one.p:.3f}", f"{one.p_holm:.3f}",
         one.verdict(found["confidence"])]
        for name, one in compared(found).items()
    ]  # fmt: skip
    settings = [
        [name, ", ".join(f"{key} {_value(value)}" for key, value in values.items()) or "-", str(len(found["search"].get(name, [])))]
        for name, values in found["best"].items()
        if name != UNTRAINED
    ]
    return [
        ("Confirmation", ["strategy", "test balanced accuracy", "validation", "minutes of training"], rows),
        ("Differences to tuned static weights, paired by seed",
         ["strategy", "mean", "deviation", f"{level} t interval (Holm)", "p", "p (Holm)", "verdict"], apart),
        ("Settings confirmed", ["strategy", "values", "searching trials"], settings),
    ]  # fmt: skip


def _ordered(confirm: dict[str, Any]) -> dict[str, Any]:
    order = sorted(confirm, key=lambda name: (name != UNTRAINED, name != BASELINE, name))
    return {name: confirm[name] for name in order}


def _scores(runs: list[dict[str, Any]]) -> list[float]:
    return [float((one["test"] or one["val"])["balanced_accuracy"]) for one in runs]


def _seeds(found: dict[str, Any]) -> int:
    return len(found["confirm"][BASELINE])


def _judged(found: dict[str, Any]) -> int:
    return int(found["shapes"]["test"] or found["shapes"]["val"])


def _spread(values: np.ndarray) -> str:
    return f"{values.mean():.3f} ± {values.std(ddof=1):.3f}"


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
