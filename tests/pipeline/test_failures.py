"""Everything that kills: workers, the command, checkpoints. What was started goes on, to the same numbers."""
import re
import signal
from pathlib import Path

import pytest

from jobs.config import names
from jobs.pretraining import checkpoint
from tests.pipeline.command import TINY, Adacrossnet, kill_outright, processes_of, wait_for, with_title

# Longer epochs than the quick test's, so that there is a middle to be killed in. PointNet: its features do not hang on neighbour sets.
CONFIG = TINY.replace("shapes: 160", "shapes: 320").replace("{name: dgcnn, k: 4}", "{name: pointnet}").replace("epochs: 3", "epochs: 4")
CURVE = (names.LOSS, names.LOSS_INTRA, names.LOSS_CROSS, names.WEIGHT_INTRA, names.LEARNING_RATE)
TOGETHER = (names.CLOUDS_PER_S, names.EPOCH)  # with the last step of a line

pytestmark = pytest.mark.soak


def curve(command: Adacrossnet) -> dict[str, list[float]]:
    """Each key's values in order of steps; AssertionError when a step stands twice."""
    run = command.stage_runs(command.summary["pipeline"])["pretrain"]
    found = {}
    for key in CURVE:
        points = sorted(command.tracking().get_metric_history(run.info.run_id, key), key=lambda point: point.step)
        assert [point.step for point in points] == list(range(1, len(points) + 1)), key
        found[key] = [point.value for point in points]
    for key in TOGETHER:
        steps = [point.step for point in command.tracking().get_metric_history(run.info.run_id, key)]
        assert len(steps) == len(set(steps)), key
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Adacrossnet:
    command = Adacrossnet(tmp_path_factory.mktemp("undisturbed"))
    command("run", str(command.config(CONFIG)))
    return command


def same(command: Adacrossnet, reference: Adacrossnet) -> None:
    mine, theirs = curve(command), curve(reference)
    for key in CURVE:
        assert mine[key] == pytest.approx(theirs[key], rel=2e-2), key
    assert command.summary["scores"]["random"] == reference.summary["scores"]["random"]


def test_a_killed_worker_is_replaced_and_the_run_ends_with_the_same_numbers(undisturbed: Adacrossnet, tmp_path: Path) -> None:
    command, log = Adacrossnet(tmp_path), tmp_path / "out.log"
    process = command.start("run", str(command.config(CONFIG)), log=log)
    wait_for(log, r"epoch 2/4 step")
    victims = with_title(tmp_path, "RayTrainWorker")
    assert len(victims) == 2
    victims[0].kill()
    assert process.wait(timeout=400) == 0, log.read_text()
    said = "".join(path.read_text() for path in (tmp_path / "runs/latest/logs").glob("pretrain-*.log"))
    assert re.search(r"resuming after epoch [12]/4", said)
    same(command, undisturbed)
    assert processes_of(tmp_path) == []


def test_ctrl_c_stops_everything_and_resume_goes_on_over_a_checkpoint_cut_short(undisturbed: Adacrossnet, tmp_path: Path) -> None:
    command, log = Adacrossnet(tmp_path), tmp_path / "out.log"
    process = command.start("run", str(command.config(CONFIG)), log=log)
    pipeline = wait_for(log, r"pipeline (tiny-\S+)")[1]
    wait_for(log, r"epoch 3/4 step")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 130, log.read_text()
    assert f"adacrossnet resume {pipeline}" in log.read_text()
    assert processes_of(tmp_path) == []
    assert {run.info.status for run in command.stage_runs(pipeline).values()} <= {"FINISHED", "KILLED"}

    folder = tmp_path / "runs/storage/pretrain" / pipeline
    latest = max(folder.glob("epoch-*"), key=lambda path: path.name)
    state = latest / checkpoint.STATE
    state.write_bytes(state.read_bytes()[:1000])
    command("resume", pipeline)
    said = "".join(path.read_text() for path in (tmp_path / "runs/latest/logs").glob("pretrain-*.log"))
    assert "passed over a checkpoint" in said
    assert "was cut short" in said
    assert re.search(r"resuming after epoch \d/4", said)
    same(command, undisturbed)


def test_the_command_killed_outright_leaves_no_process_and_resumes(undisturbed: Adacrossnet, tmp_path: Path) -> None:
    command, log = Adacrossnet(tmp_path), tmp_path / "out.log"
    process = command.start("run", str(command.config(CONFIG)), log=log)
    pipeline = wait_for(log, r"pipeline (tiny-\S+)")[1]
    wait_for(log, r"epoch 2/4 step")
    kill_outright(process, tmp_path)
    command("resume", pipeline)
    same(command, undisturbed)


def test_reproduce_gives_the_scores_again(undisturbed: Adacrossnet) -> None:
    before = undisturbed.summary
    said = undisturbed("reproduce", "adacrossnet-pointnet/1")
    after = undisturbed.summary
    assert after["pipeline"] != before["pipeline"]
    assert after["model"]["version"] == "2"
    assert after["scores"]["random"] == before["scores"]["random"]
    for split in ("val", "test"):
        assert after["scores"]["trained"][split]["balanced_accuracy"] == pytest.approx(
            before["scores"]["trained"][split]["balanced_accuracy"], abs=0.1
        )
    assert "balanced" in said


def test_a_failing_stage_ends_the_run_with_its_own_message_and_stops_everything(tmp_path: Path) -> None:
    command = Adacrossnet(tmp_path)
    said = command("run", str(command.config(CONFIG)), "--set", "pretrain.batch=400", code=1)
    assert "pretrain.batch is 400" in said
    assert "training shapes" in said
    assert processes_of(tmp_path) == []


def test_a_diverging_run_stops_at_once_with_the_reason_and_is_not_tried_again(tmp_path: Path) -> None:
    command = Adacrossnet(tmp_path)
    said = command("run", str(command.config(CONFIG)), "--set", "pretrain.optimizer.lr=1e30", code=1)
    assert re.search(r"pretraining stopped at step \d+: the .*The optimizer did not move", said)
    log = "".join(path.read_text() for path in (tmp_path / "runs/pipelines").glob("*/logs/pretrain-*.log"))
    assert len(set(re.findall(r"pid=(\d+)\).*epoch 1/4 step 1/", log))) == 1  # one process came so far: no second try
    assert processes_of(tmp_path) == []
