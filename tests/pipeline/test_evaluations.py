"""Further evaluations of a pipeline, trained with Ray Train on two workers; one of them is killed."""
import json
import re
from pathlib import Path

import pytest

from tests.pipeline.command import TINY, Adacrossnet, processes_of, wait_for, with_title

EVALUATIONS = """
evaluations:
  - {task: finetune, fractions: [0.5, 1.0], epochs: 2, batch: 15, lr: 0.02}
  - {task: parts, epochs: 60, batch: 15, lr: 0.05}
"""

pytestmark = pytest.mark.soak


def test_supervised_stages_train_from_the_registered_encoder_and_survive_a_killed_worker(tmp_path: Path) -> None:
    command, log = Adacrossnet(tmp_path), tmp_path / "out.log"
    process = command.start("run", str(command.config(TINY.replace("{name: dgcnn, k: 4}", "{name: pointnet}") + EVALUATIONS)), log=log)
    wait_for(log, r"parts .*trained: epoch \d+/60", timeout=420)
    with_title(tmp_path, "RayTrainWorker")[0].kill()
    assert process.wait(timeout=500) == 0, log.read_text()
    assert processes_of(tmp_path) == []
    summary = command.summary
    assert list(summary["stages"]) == ["prepare", "pretrain", "evaluate", "register", "finetune", "parts"]
    said = "".join(path.read_text() for path in (tmp_path / "runs/latest/logs").glob("parts-*.log"))
    assert re.search(r"resuming after epoch \d+/60", said)
    client = command.tracking()
    version = client.get_model_version("adacrossnet-pointnet", "1")
    for task, metric in (("finetune", "accuracy_100pct"), ("parts", "instance_miou")):
        facts = summary["evaluations"][task]
        for side in ("trained", "random"):
            value = facts["scores"][side][metric]
            assert 0 < value < 1 and f"{value:.3f}" in log.read_text()
            assert float(version.tags[f"{task}/synthetic/{side}.{metric}"]) == pytest.approx(value, abs=1e-6)
    drawn = {Path(path).stem for path in summary["pictures"]}
    assert drawn >= {"finetune_learning_curves", "parts_learning_curves", "parts_gallery", "finetune_label_fractions"}
    shown = json.loads(command("show", summary["pipeline"], "--json"))
    assert [stage["state"] for stage in shown["stages"]] == ["succeeded"] * 6
