"""The encoder of a suite: found once, so that all its evaluations judge the same, and checked before its datasets are prepared."""
from __future__ import annotations

from typing import Any

from jobs.config.pipeline import UNKNOWN, check_encoder
from jobs.judged import Judged, find_judged
from jobs.packaging import weights_digest
from jobs.tracking import Stage

FACTS = "suite"  # in those of the stage `prepare`


def pinned(stage: Stage) -> dict[str, Any]:
    """What the suite's model is now: an alias may move while it runs. ValueError when there is none, or a task can never take it."""
    suite = stage.config.suite
    assert suite is not None
    judged = find_judged(stage.client, suite.model, backbone=suite.backbone, variant=suite.variant, k=suite.k)
    for name, one in stage.config.evaluation_stages.items():
        check_encoder(name, one, judged.backbone, stage.config.points_of(one, int(getattr(stage.config.data_of(one), "points", UNKNOWN))))
    stage.say(f"{judged.label}: {judged.backbone.name}, judged by {', '.join(stage.config.evaluation_stages)}")
    model = suite.model
    if judged.version is not None:
        model = f"models:/{judged.version.name}/{judged.version.version}"
    elif judged.model_id is not None:
        model = f"models:/{judged.model_id}"
    return {"model": model, "label": judged.label, "weights": weights_digest(dict(judged.weights))}


def judged_by(stage: Stage) -> Judged:
    """The pinned encoder. ValueError when it is not the same any more: a file may have been written again."""
    suite, facts = stage.config.suite, stage.facts_of("prepare")[FACTS]
    assert suite is not None
    if facts["model"] == suite.model:
        judged = find_judged(stage.client, suite.model, backbone=suite.backbone, variant=suite.variant, k=suite.k)
    else:
        judged = find_judged(stage.client, facts["model"])
    if weights_digest(dict(judged.weights)) != facts["weights"]:
        raise ValueError(f"{facts['model']} has other weights than when the suite began: submit it again")
    return judged
