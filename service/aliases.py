"""Moving `champion`: who did it, when, why and on which scores stands on the version; the one before is `previous`."""
from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from jobs.config import names
from service.promotion import Verdict
from service.registry import raise_if_away

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from service.mlflow_runs import Runs


def holder(runs: Runs, name: str, alias: str) -> ModelVersion | None:
    """The version that has an alias; None where none has. TrackingAway when MLflow does not answer: no answer is not no champion."""
    from mlflow.exceptions import MlflowException

    try:
        return runs.client.get_model_version_by_alias(name, alias)
    except (MlflowException, OSError) as error:
        raise_if_away(error, runs)
        return None


def promote(runs: Runs, version: ModelVersion, verdict: Verdict, by: str, forced: bool, reason: str | None) -> None:
    """Makes it champion and the one before `previous`, and writes down by whom, when and why."""
    before = holder(runs, version.name, names.ALIAS_CHAMPION)
    note = {
        "promoted.by": by,
        "promoted.at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "promoted.why": "; ".join([*([reason] if reason else []), *verdict.reasons]),
        "promoted.forced": "; ".join(verdict.reasons) if forced else "no",
        "promoted.over": before.version if before is not None else "none",
        "promoted.scores": json.dumps({row.name: [row.candidate, row.champion] for row in verdict.rows}),
    }
    for key, value in note.items():
        runs.client.set_model_version_tag(version.name, str(version.version), key, str(value))
    if before is not None:
        runs.client.set_registered_model_alias(version.name, names.ALIAS_PREVIOUS, str(before.version))
    runs.client.set_registered_model_alias(version.name, names.ALIAS_CHAMPION, str(version.version))


def roll_back(runs: Runs, name: str, by: str, reason: str) -> tuple[str, str]:
    """`previous` is champion again, and the champion `previous`; (new, old) version. ValueError when there is no previous one."""
    if not reason.strip():
        raise ValueError("--reason is empty: say why")
    champion, previous = holder(runs, name, names.ALIAS_CHAMPION), holder(runs, name, names.ALIAS_PREVIOUS)
    if champion is None or previous is None:
        raise ValueError(f"{name} has no {'champion' if champion is None else 'previous champion'}: there is nothing to go back to")
    if champion.version == previous.version:  # a rollback, or a promotion, was broken off after its first alias
        since = champion.tags.get("promoted.at", "")
        found = runs.client.search_model_versions(f"name = '{name}'")
        taken = [one for one in found if one.version != champion.version and one.tags.get("rolled_back.at", "") > since]
        if not taken:
            raise ValueError(f"{name}/{champion.version} is champion and previous: a promotion was broken off; `models promote` it again")
        last = max(taken, key=lambda one: one.tags["rolled_back.at"])
        runs.client.set_registered_model_alias(name, names.ALIAS_PREVIOUS, str(last.version))
        return str(champion.version), str(last.version)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    note = {"rolled_back.by": by, "rolled_back.at": now, "rolled_back.why": reason}
    for key, value in note.items():
        runs.client.set_model_version_tag(name, str(champion.version), key, value)
    runs.client.set_registered_model_alias(name, names.ALIAS_CHAMPION, str(previous.version))
    runs.client.set_registered_model_alias(name, names.ALIAS_PREVIOUS, str(champion.version))
    return str(previous.version), str(champion.version)


def lineage(version: ModelVersion) -> dict[str, Any]:
    """What made it, as far as its tags say."""
    kept = (names.TAG_PIPELINE, names.TAG_CODE, names.TAG_CONFIG, "source", "file", "variant", "strategy")
    return {key: version.tags[key] for key in kept if key in version.tags} | {"run": version.run_id}
