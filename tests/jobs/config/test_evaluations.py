"""Further evaluations in a config: their stages, and what is refused before anything runs."""
from pathlib import Path
from typing import Any, get_args

import pytest

from jobs.config import ConfigError, check, check_evaluation, parse_value
from jobs.config.evaluations import Evaluation, Suite
from jobs.evaluate_model import JUDGES
from service.commands.models import TASKS
from service.promotion import DECIDES
from service.promotion import TASKS as RULED

BASE: dict[str, Any] = {"data": {"kind": "synthetic"}, "evaluate": {"points": 256}, "pretrain": {"points": 256}}


def test_each_is_a_stage_after_the_registration_and_its_data_are_prepared() -> None:
    evaluations = [{"task": "parts"}, {"task": "fewshot"}, {"task": "parts", "data": {"kind": "shapenetpart", "source": "x"}}]
    config = check({**BASE, "evaluations": evaluations}, "test")
    assert config.stages == ("prepare", "pretrain", "evaluate", "register", "parts", "fewshot", "parts-2")
    assert list(config.datasets) == ["data", "parts-2"]


def test_tasks_have_the_same_names_everywhere() -> None:
    names = {get_args(one.model_fields["task"].annotation)[0] for one in get_args(get_args(Evaluation)[0])}
    assert names == {*JUDGES, "svm"}
    assert names == set(TASKS) == set(RULED) == set(DECIDES)


def test_a_suite_judges_an_encoder_that_there_is(tmp_path: Path) -> None:
    values = {"suite": {"model": "best"}, "evaluations": [{"task": "svm"}, {"task": "scenes", "data": {"kind": "synthetic-rooms"}}]}
    (tmp_path / "best").mkdir()
    config = check({"data": {"kind": "synthetic", "points": 1024}, **values}, "test")  # no matter to a pretraining
    assert config.stages == ("prepare", "svm", "scenes")
    suite = config.resolved(tmp_path).suite
    assert suite is not None and suite.model == str(tmp_path / "best"), "a folder of here is named wholly; a model's URI stays as it is"
    named = config.model_copy(update={"suite": Suite(model="models:/one@champion")}).resolved(tmp_path).suite
    assert named is not None and named.model == "models:/one@champion"
    rooms_alone = {**values, "data": {"kind": "s3dis", "source": "x"}, "evaluations": [{"task": "scenes", "channels": 9}]}
    assert list(check({**rooms_alone, "evaluate": {"points": 16}, "cluster": {"workers": 64}}, "test").datasets) == ["data"]
    assert list(config.datasets) == ["data", "scenes"] and config.points_of(config.evaluations[1], 1024) == 1024
    for wrong, said in (({"evaluations": []}, "suite without evaluations"), ({"suite": {"model": ""}}, "suite.model")):
        with pytest.raises(ConfigError, match=said):
            check({"data": {"kind": "synthetic"}, **values, **wrong}, "test")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"evaluations": [{"task": "finetune", "epoch": 3}]}, r"evaluations\[0\].epoch: unknown key; did you mean 'epochs'"),
        ({"evaluations": [{"task": "fineturn"}]}, "did you mean 'finetune'"),
        ({"evaluations": [{"task": "parts", "data": {"kind": "modelnet40", "source": "x"}}]}, "modelnet40 has no parts"),
        ({"evaluations": [{"task": "fewshot", "data": {"kind": "s3dis", "source": "x"}}]}, "s3dis holds rooms, not shapes"),
        ({"evaluations": [{"task": "fewshot", "points": 4096}]}, "fewshot takes 4096 points, but its dataset stores 2048"),
        ({"evaluations": [{"task": "parts"}, {"task": "parts", "lr": 0.05}]}, "parts-2 is the task of parts on the same dataset"),
        ({"evaluations": [{"task": "svm"}]}, "svm is the task of evaluate on the same dataset"),
        ({"evaluations": [{"task": "fewshot", "points": 8}]}, "fewshot takes 8 points a cloud, and dgcnn needs 20"),
        ({"evaluations": [{"task": "finetune", "lr": 1e-4}]}, "min_lr is 0.001, above lr 0.0001"),
        ({"data": {"kind": "synthetic-rooms"}}, "data is synthetic-rooms, blocks of rooms"),
        ({"pretrain": {"backbone": {"name": "rpc"}, "points": 256}, "evaluations": [{"task": "parts"}]}, "rpc has no features of single"),
    ],
)
def test_what_can_never_work_is_said_before_the_pretraining(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check({**BASE, **values}, "test")


def test_a_misspelt_key_in_a_list_is_not_told_to_be_set_where_set_does_not_reach() -> None:
    with pytest.raises(ConfigError) as fault:
        check({**BASE, "evaluations": [{"task": "parts", "epoch": 3}]}, "test")
    assert "--set" not in str(fault.value) and "known here" in str(fault.value)


def test_settings_from_the_command_line_are_read_as_in_a_config() -> None:
    assert parse_value("lr=1e-3", "1e-3") == pytest.approx(1e-3)
    with pytest.raises(ConfigError, match="unknown key; did you mean 'lr'"):
        check_evaluation({"task": "finetune", "lrr": 1}, "--set")
