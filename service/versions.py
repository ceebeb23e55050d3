"""Registered versions with their aliases, lineage and scores, and two of them side by side."""
from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from jobs.config import names
from service.aliases import holder, lineage, promote
from service.mlflow_runs import Runs
from service.paired import paired
from service.promotion import Rule, compare, judge, of_test
from service.registry import version_of

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

PREFIX = "adacrossnet-"
ALREADY = "is champion already"  # what is said where nothing was moved


class NotPromoted(ValueError):
    """The rule does not allow it; the message says why."""


def versions(runs: Runs) -> list[tuple[ModelVersion, list[str]]]:
    """Every registered version with its aliases, newest first."""
    found = []
    for model in runs.client.search_registered_models(f"name LIKE '{PREFIX}%'"):
        aliases = aliases_of(runs, model.name)
        versions = runs.client.search_model_versions(f"name = '{model.name}'")
        found += [(one, aliases.get(str(one.version), [])) for one in versions]
    return sorted(found, key=lambda one: -int(one[0].creation_timestamp))


def aliases_of(runs: Runs, name: str) -> dict[str, list[str]]:
    """version -> its aliases."""
    found: dict[str, list[str]] = {}
    for alias, version in runs.client.get_registered_model(name).aliases.items():
        found.setdefault(str(version), []).append(alias)
    return found


def version_facts(version: ModelVersion, aliases: list[str]) -> dict[str, Any]:
    """A version for JSON: its tags hold its scores."""
    registered = time.strftime("%Y-%m-%d %H:%M", time.localtime(int(version.creation_timestamp) / 1000))
    return {
        "name": version.name,
        "version": str(version.version),
        "aliases": sorted(aliases),
        "registered": registered,
        "lineage": lineage(version),
        "tags": dict(version.tags),
    }


def compared(runs: Runs, a: ModelVersion, b: ModelVersion) -> list[dict[str, Any]]:
    """A row a score that either has, and a row a score that both have on the same items alone."""
    found = compare(b.tags, a.tags)
    alike = {tuple(row.name.split("/")[:2]) for row in found if row.gain is not None}
    pairs = {
        f"{task}/{dataset}/{name}": one
        for task, dataset in alike
        for name, one in paired(runs, a.tags, b.tags, task, dataset).items()
    }
    rows: list[dict[str, Any]] = [
        {
            "score": row.name,
            "first": row.champion,
            "second": row.candidate,
            "difference": row.gain,
            "not_comparable": row.why_not or None,
            "decides": row.decides,
            "of_test": of_test(row.name),
            "paired": vars(pairs[row.name]) if row.name in pairs else None,
        }
        for row in found
    ]
    for name in sorted(pairs.keys() - {row.name for row in found}):
        one = pairs[name]
        rows.append(
            {"score": name, "first": one.first, "second": one.second, "difference": one.mean, "not_comparable": None, "decides": False,
             "of_test": of_test(name), "paired": vars(one)}
        )  # fmt: skip
    return rows


def promote_by_rule(runs: Runs, version: str, rule: Rule, by: str, reason: str | None, force: bool) -> str:
    """Makes a version champion where the rule allows it or `force` goes against it; what was done, in words.

    Raises NotPromoted, ValueError for a version that is none, TrackingAway.
    """
    candidate = version_of(runs, version)
    label = f"{candidate.name}/{candidate.version}"
    champion = holder(runs, candidate.name, names.ALIAS_CHAMPION)
    if champion is not None and champion.version == candidate.version:
        return f"{label} {ALREADY}"
    verdict = judge(candidate.tags, champion.tags if champion is not None else None, rule)
    if not verdict.promote and not force:
        than = f"{champion.name}/{champion.version} stays champion" if champion is not None else "there is no champion"
        raise NotPromoted(f"{label} is not promoted, {than}:\n  " + "\n  ".join(verdict.reasons))
    promote(runs, candidate, verdict, by, forced=not verdict.promote, reason=reason)
    said = "against the rule" if not verdict.promote else "; ".join(verdict.reasons)
    before = f"; {champion.name}/{champion.version} is previous" if champion is not None else ""
    return f"{label} is champion{before}: {said}"
