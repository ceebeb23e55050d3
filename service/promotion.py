"""Which version may become champion: a written rule over validation scores. Knows tags alone, no MLflow."""
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

TASKS = ("svm", "fewshot", "finetune", "parts", "scenes")
# What decides, a task: a score of the trained encoder on validation. Few-shot episodes come out of train and validation.
DECIDES = {
    "svm": re.compile(r"val\.balanced_accuracy"),
    "fewshot": re.compile(r"\d+way_\d+shot_accuracy"),
    "finetune": re.compile(r"val_balanced_accuracy_[\d.]+pct"),
    "parts": re.compile(r"val_instance_miou"),
    "scenes": re.compile(r"val_miou"),
}
FOUND = {"svm": {"c", "shapes", "epoch_selected_on"}}  # of a task: what is found under its protocol, and is no part of it
SCORE = re.compile(r"(?P<task>[a-z]+)/(?P<dataset>[^/]+)/(?P<encoder>trained|random)\.(?P<metric>.+)")
PROTOCOL = re.compile(r"(?P<task>[a-z]+)/(?P<dataset>[^/]+)/protocol\.(?P<key>.+)")


class Rule(BaseModel):
    """configs/promotion.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    required: Annotated[list[str], Field(min_length=1)]  # tasks
    margin: Annotated[float, Field(ge=0, le=1)] = 0.01
    better: Annotated[float, Field(ge=0, le=1)] = 0.0


@dataclass(frozen=True)
class Compared:
    """One score of the candidate beside the champion's."""

    name: str  # task/dataset/metric
    candidate: float | None
    champion: float | None
    decides: bool  # whether a rule may look at it
    why_not: str = ""  # compared, where both have it

    @property
    def gain(self) -> float | None:
        """Candidate minus champion, where they can be compared, to the six digits that are kept."""
        return None if self.champion is None or self.candidate is None or self.why_not else round(self.candidate - self.champion, 6)


@dataclass(frozen=True)
class Verdict:
    """Whether the rule promotes, and why or why not."""

    promote: bool
    reasons: list[str]
    rows: list[Compared] = field(default_factory=list)


def read_rule(path: Path) -> Rule:
    """ValueError, naming the file and key, when it is missing or no rule."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        rule = Rule.model_validate(values)
    except FileNotFoundError:
        raise ValueError(f"there is no rule {path}: name one with --rule, configs/promotion.yaml is an example") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML ({error})") from None
    except ValidationError as error:
        fault = error.errors()[0]
        raise ValueError(f"{path}: {'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}") from None
    unknown = [task for task in rule.required if task not in TASKS]
    if unknown:
        raise ValueError(f"{path}: required: there is no task {unknown[0]!r}, but {', '.join(TASKS)}")
    return rule


def scores_of(tags: Mapping[str, str], encoder: str = "trained") -> dict[str, float]:
    """task/dataset/metric -> value of a version's encoder, or of the random weights judged beside it."""
    found = {}
    for key, value in tags.items():
        match = SCORE.fullmatch(key)
        if match and match["encoder"] == encoder and match["task"] in TASKS:
            found[f"{match['task']}/{match['dataset']}/{match['metric']}"] = float(value)
    return found


def deciding(scores: Mapping[str, float]) -> dict[str, float]:
    """Those on validation that a rule may look at."""
    return {name: value for name, value in scores.items() if DECIDES[name.split("/")[0]].fullmatch(name.split("/", 2)[2])}


def protocol_of(tags: Mapping[str, str], task: str, dataset: str) -> dict[str, str]:
    """What a task's scores on a dataset must be read with, without what it found itself."""
    matches = (PROTOCOL.fullmatch(key) for key in tags)
    return {
        match["key"]: tags[match[0]]
        for match in matches
        if match and (match["task"], match["dataset"]) == (task, dataset) and match["key"] not in FOUND.get(task, ())
    }


def of_test(name: str) -> bool:
    """Whether a score is one of the test split."""
    task, _, metric = name.split("/", 2)
    return task != "fewshot" and not metric.startswith(("val.", "val_"))


def compare(candidate: Mapping[str, str], champion: Mapping[str, str] | None) -> list[Compared]:
    """Every score that either has."""
    ours, theirs = scores_of(candidate), scores_of(champion or {})
    rows = []
    for name in sorted(ours.keys() | theirs.keys()):
        task, dataset, _ = name.split("/", 2)
        mine, other = protocol_of(candidate, task, dataset), protocol_of(champion or {}, task, dataset)
        unlike = sorted(key for key in mine.keys() | other.keys() if mine.get(key) != other.get(key))
        why = f"other {', '.join(unlike)}" if unlike else "" if mine else "no protocol was kept with them"
        both = name in ours and name in theirs
        rows.append(Compared(name, ours.get(name), theirs.get(name), bool(deciding({name: 0.0})), why if both else ""))
    return rows


def judge(candidate: Mapping[str, str], champion: Mapping[str, str] | None, rule: Rule) -> Verdict:
    """The rule on two versions' tags; `champion` None: there is none yet."""
    rows = [row for row in compare(candidate, champion) if row.decides]
    ours = {row.name for row in rows if row.candidate is not None}
    reasons = [
        f"it was not judged on {task}: adacrossnet evaluate MODEL --data DIR --task {task}"
        for task in rule.required
        if not any(name.startswith(f"{task}/") for name in ours)
    ]
    selected = candidate.get("protocol.epoch_selected_on", "validation")
    if selected != "validation":
        reasons.append(f"its epoch was selected on {selected}, so its scores are not comparable with others")
    if champion is None:
        return Verdict(not reasons, reasons or ["there is no champion yet, and it has every score that the rule asks for"], rows)
    required = [row for row in rows if row.name.split("/")[0] in rule.required]
    reasons += [f"the champion has {row.name}, it has not" for row in required if row.candidate is None]
    reasons += [f"{row.name}: cannot be compared with the champion's ({row.why_not})" for row in required if row.why_not]
    gains = {row.name: row.gain for row in rows if row.gain is not None}
    reasons += [f"{name} is {-gain:.4f} worse, more than the margin {rule.margin:g}" for name, gain in gains.items() if gain < -rule.margin]
    best = max(gains.values(), default=None)
    if best is None:
        reasons.append("no score of it can be compared with the champion's")
    elif best <= rule.better:
        reasons.append(f"nowhere is it more than {rule.better:g} better (at most {best:+.4f})")
    if reasons:
        return Verdict(False, reasons, rows)
    where = ", ".join(f"{name} {gain:+.4f}" for name, gain in gains.items() if gain > rule.better)
    return Verdict(True, [f"better on {where}, nowhere worse by more than {rule.margin:g}"], rows)
