"""What is known to be wrong with a suite before its datasets are prepared."""
from __future__ import annotations

from jobs.config.pipeline import check_encoder
from jobs.scoring import judged_of
from jobs.tracking import Stage


def check_suite(stage: Stage) -> None:
    """ValueError when there is no such encoder, or one of the tasks can never take it."""
    judged = judged_of(stage)
    for name, one in stage.config.evaluation_stages.items():
        check_encoder(name, one, judged.backbone, one.points or stage.config.evaluate.points)
    stage.say(f"{judged.label}: {judged.backbone.name}, judged by {', '.join(stage.config.evaluation_stages)}")
