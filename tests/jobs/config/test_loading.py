"""Configs are strict: what does not fit is refused with the file, the field and the way out."""
import json
from pathlib import Path
from typing import Any

import pytest

from jobs.config import ConfigError, Pipeline, check, load
from jobs.config.published import PUBLISHED

ROOT = Path(__file__).resolve().parents[3]


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return path


NOT_PIPELINES = ("promotion", "service")


@pytest.mark.parametrize("name", sorted(one.name for one in (ROOT / "configs").glob("*.yaml") if one.stem not in NOT_PIPELINES))
def test_every_shipped_config_loads_and_survives_being_stored(name: str) -> None:
    resolved = load(ROOT / "configs" / name).resolved(ROOT)
    again = Pipeline.model_validate_json(resolved.to_json())
    assert again == resolved
    assert again.digest() == resolved.digest()
    assert again.resolved(Path("/elsewhere")) == resolved  # nothing in it depends on where it is read


@pytest.mark.parametrize(
    ("text", "key", "meant"),
    [
        ("data: {kind: synthetic, shpaes: 3}", "data.shpaes", "'shapes'"),
        ("data: {kind: synthetic}\npretrain: {bacth: 3}", "pretrain.bacth", "'batch'"),
        ("data: {kind: synthetic}\npretrain: {weighting: {name: adacrossnet, alhpa: 1}}", "pretrain.weighting.alhpa", "'alpha'"),
        ("data: {kind: synthetic}\nevalute: {}", "evalute", "'evaluate'"),
    ],
)
def test_an_unknown_key_names_the_nearest_valid_one(tmp_path: Path, text: str, key: str, meant: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(write(tmp_path, text))
    assert f"{key}: unknown key; did you mean {meant}" in str(error.value)
    assert str(tmp_path / "run.yaml") in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data: {kind: synthetic, shapes: many}", "data.shapes"),
        ("data: {kind: synthetic}\npretrain: {epochs: 0}", "pretrain.epochs"),
        ("data: {kind: synthetic}\npretrain: {epochs: 2.5}", "pretrain.epochs"),
        ("data: {kind: synthetic}\npretrain: {weighting: {name: adacrossnet, beta: 1.0}}", "pretrain.weighting.beta"),
        ("data: {kind: synthetic}\npretrain: {optimizer: {lr: .nan}}", "pretrain.optimizer.lr"),
        ("data: {kind: cubes}", "'synthetic'"),
        ("data: {kind: meshes}", "data.source: is required"),
        ("pretrain: {}", "data: is required"),
        ("data: {kind: synthetic}\nname: has spaces", "name"),
        ("data: {kind: synthetic}\npretrain: {backbone: {k: 400}, points: 256}", "pretrain.backbone.k is 400"),
        ("data: {kind: synthetic}\npretrain: {batch: 2}\ncluster: {workers: 4}", "pretrain.batch is 2 for 4 workers"),
        ("data: {kind: synthetic}\npretrain: {batch: 4}\ncluster: {workers: {min: 2, max: 8}}", "pretrain.batch is 4 for 2 to 8 workers"),
        ("data: {kind: synthetic}\ncluster: {workers: {min: 3, max: 2}}", "cluster.workers: max is 2, less than min, 3"),
        ("data: {kind: synthetic}\ncluster: {workers: {min: 0, max: 2}}", "cluster.workers.min: Input should be greater than"),
        ("data: {kind: synthetic}\ncluster: {workers: {min: 2}}", "cluster.workers.max: is required"),
        ("data: {kind: synthetic}\ncluster: {workers: {min: 2, mxa: 3}}", "cluster.workers.mxa: unknown key; did you mean 'max'?"),
        ("data: {kind: synthetic}\ncluster: {workers: two}", "cluster.workers: Input should be a valid integer"),
        ("data: {kind: synthetic, points: 512}\npretrain: {points: 256}\nevaluate: {points: 1024}", "evaluate.points is 1024"),
        ("data: {kind: synthetic, points: 512}\nevaluate: {points: 512}", "pretrain.points is 2048"),
        ("data: {kind: synthetic}\ndata: {kind: synthetic}", "line 2: the key 'data' is written twice"),
        ("data: {kind: synthetic", "not valid YAML"),
        ("- a list", "not a mapping"),
        ("data: {kind: synthetic}\n? [a, b]\n: 1", "line 2: a key is a list or a mapping"),
        ("data: {kind: synthetic}\n{a: 1}: 1", "line 2: a key is a list or a mapping"),
        ("data: {kind: synthetic}\nname: 2024-13-01", "not valid YAML"),
        ("data: {kind: synthetic}\npretrain:", "pretrain: is empty; remove the line or give it fields"),
        ("data:", "data: is empty; remove the line or give it fields"),
        ("data: {kind: mesh}", "did you mean 'meshes'?"),
    ],
)
def test_a_wrong_value_names_its_field(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(write(tmp_path, text))
    assert said in str(error.value)


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(b"data: {kind: synthetic} # \xff")
    with pytest.raises(ConfigError, match=r"run\.yaml: is not UTF-8 text \(invalid start byte at byte 26\)"):
        load(path)


def test_merge_keys_bring_in_values_that_a_section_may_override(tmp_path: Path) -> None:
    config = load(write(tmp_path, "data: &a {kind: synthetic, shapes: 40, seed: 3}\nprobe: &b {<<: *a, shapes: 20}"))
    assert (config.data.seed, config.probe.seed, config.probe.shapes) == (3, 3, 20)  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="line 2: the key 'seed' is written twice"):
        load(write(tmp_path, "data: &a {kind: synthetic}\nprobe: {<<: *a, seed: 1, seed: 2}"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no_such\.yaml: cannot be read"):
        load(tmp_path / "no_such.yaml")


def test_set_overrides_a_value_and_makes_its_section_where_there_is_none(tmp_path: Path) -> None:
    path = write(tmp_path, "data: {kind: synthetic, shapes: 40}")
    config = load(path, ["pretrain.epochs=5", "data.shapes=80", "pretrain.weighting={name: static, intra: 2.0}"])
    assert config.pretrain.epochs == 5
    assert config.data.shapes == 80  # type: ignore[union-attr]
    assert config.pretrain.weighting.intra == 2.0  # type: ignore[union-attr]


def test_a_number_in_scientific_notation_needs_no_dot(tmp_path: Path) -> None:
    config = load(write(tmp_path, "data: {kind: synthetic}\npretrain: {optimizer: {weight_decay: 1e-6}}"), ["pretrain.optimizer.lr=5e-4"])
    assert (config.pretrain.optimizer.weight_decay, config.pretrain.optimizer.lr) == (1e-6, 5e-4)


@pytest.mark.parametrize("override", ["pretrain.epochs", "=5", "name.x=1", "pretrain.epochs={", "name=2024-13-01", "pretrain={k: 1, k: 2}"])
def test_a_malformed_override_is_shown_as_it_was_typed(tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(write(tmp_path, "name: a\ndata: {kind: synthetic}"), [override])
    assert f"--set {override}" in str(error.value)


def test_the_digest_follows_every_value_and_not_the_order_of_keys(tmp_path: Path) -> None:
    one = load(write(tmp_path, "seed: 1\ndata: {kind: synthetic, shapes: 40, views: 2}")).digest()
    two = load(write(tmp_path, "data: {views: 2, shapes: 40, kind: synthetic}\nseed: 1")).digest()
    other = load(write(tmp_path, "seed: 2\ndata: {kind: synthetic, shapes: 40, views: 2}")).digest()
    assert one == two != other


def test_default_targets_differ_when_the_data_differ(tmp_path: Path) -> None:
    targets = {
        load(write(tmp_path, f"data: {{kind: synthetic, shapes: {shapes}}}")).resolved(tmp_path).data.target for shapes in (40, 80)
    }
    assert len(targets) == 2


def test_a_backbone_that_the_points_cannot_serve_is_refused_before_anything_runs() -> None:
    values = {"data": {"kind": "synthetic"}, "evaluate": {"points": 1024}}
    with pytest.raises(ValueError, match=r"backbone.k is 40, more than the points of a cloud \(pretrain.points 32"):
        check({**values, "pretrain": {"backbone": {"name": "dgcnn_partseg", "k": 40}, "points": 32}}, "test")
    with pytest.raises(ValueError, match=r"rpc groups 256 sharp and 256 gentle points .*pretrain.points 128"):
        check({**values, "pretrain": {"backbone": {"name": "rpc", "k": 30}, "points": 128}}, "test")


@pytest.mark.parametrize("paper", ["crosspoint", "crossnet", "adacrossnet"])
def test_a_faithful_mode_takes_its_papers_settings_and_names_each_that_differs(paper: str) -> None:
    values = {"data": {"kind": "synthetic"}, "pretrain": faithful(paper)}
    assert check(values, "test").pretrain.paper_compat == paper
    values["pretrain"]["optimizer"] = {"lr": 0.1, "weight_decay": values["pretrain"]["optimizer"]["weight_decay"], "warmup": 5}
    with pytest.raises(ConfigError, match=rf"paper_compat {paper}: optimizer.lr must be 0.001 \(is 0.1\); optimizer.warmup must be 0"):
        check(values, "test")


def faithful(paper: str) -> dict[str, Any]:
    """A config's pretrain section from the flat table of what a paper fixes."""
    section: dict[str, Any] = {"paper_compat": paper}
    for key, value in PUBLISHED[paper].items():
        *sections, last = key.split(".")
        within = section
        for part in sections:
            within = within.setdefault(part, {})
        within[last] = value
    return section


def said(config: Pipeline) -> tuple[int, int, bool, str]:
    cluster = config.cluster
    return cluster.fewest, cluster.most, cluster.elastic, cluster.workers_said


def test_workers_are_a_number_or_bounds_and_a_number_stays_one_in_json(tmp_path: Path) -> None:
    fixed = load(write(tmp_path, "data: {kind: synthetic}\ncluster: {workers: 4}"))
    assert said(fixed) == (4, 4, False, "4 workers")
    assert json.loads(fixed.to_json())["cluster"]["workers"] == 4
    elastic = load(write(tmp_path, "data: {kind: synthetic}\ncluster: {workers: {min: 2, max: 16}}"), ["cluster.workers.max=8"])
    assert said(elastic) == (2, 8, True, "2 to 8 workers")
    assert json.loads(elastic.to_json())["cluster"]["workers"] == {"min": 2, "max": 8, "look_every_s": 60.0}
    assert Pipeline.model_validate_json(elastic.to_json()) == elastic
