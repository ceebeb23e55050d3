"""Preparing: the same bytes for the same input and seed, also after a restart and over Ray; and what bad input does."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs import prepare as job
from jobs.config import names
from jobs.config.datasets import Data, Meshes, Prepared, ShapenetRender, Synthetic
from jobs.data import finishing, synthetic, tables
from jobs.data.finishing import name_of
from jobs.data.format import read_manifest
from jobs.data.items import Item, Shape
from jobs.data.prepared import PreparedDataset
from jobs.data.splat import png

ROOT = Path(__file__).resolve().parents[2]
HEAD = "ply\nformat ascii 1.0\nelement vertex {}\nproperty float x\nproperty float y\nproperty float z\nend_header\n"


def config(target: Path, **changed: Any) -> Synthetic:
    values = {"kind": "synthetic", "shapes": 34, "points": 64, "views": 1, "image_size": 32, "shard_rows": 8, "target": target}
    return Synthetic.model_validate({**values, **changed})


def prepare(data: Data) -> tuple[dict[str, Any], list[str]]:
    lines: list[str] = []
    return job.prepare(data, say=lines.append, parallel=False), lines


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_cloud(source: Path, synset: str, name: str, points: np.ndarray) -> None:
    cloud, views = source / "ShapeNet" / synset / f"{name}.ply", source / "ShapeNetRendering" / synset / name / "rendering"
    cloud.parent.mkdir(parents=True, exist_ok=True)
    views.mkdir(parents=True)
    cloud.write_text(HEAD.format(len(points)) + "".join(f"{x} {y} {z}\n" for x, y, z in points))
    (views / "00.png").write_bytes(png(np.zeros((32, 32, 4), np.uint8)))


def cloud(seed: int, points: int = 80) -> np.ndarray:
    return np.random.default_rng(seed).random((points, 3))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first, _ = prepare(config(tmp_path / "a"))
    prepare(config(tmp_path / "b"))
    other, _ = prepare(config(tmp_path / "c", seed=1))
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert first["digest"] != other["digest"]
    assert sorted(files(tmp_path / "a")) == ["index.arrow", "manifest.json", "rejects.jsonl", *(f"shard-0000{n}.arrow" for n in range(5))]


def test_a_restart_in_the_middle_keeps_finished_shards_and_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(config(tmp_path / "whole"))
    made: list[str] = []

    def read_until(stop: int) -> None:
        def read(item: Item, cfg: Synthetic) -> Shape:
            if len(made) == stop:
                raise KeyboardInterrupt
            made.append(item.id)
            return synthetic.read(item, cfg)

        monkeypatch.setitem(tables.SOURCES, "synthetic", replace(tables.SOURCES["synthetic"], read=read))

    read_until(20)  # two shards of eight and a half
    with pytest.raises(KeyboardInterrupt):
        prepare(config(tmp_path / "cut"))
    assert not (tmp_path / "cut/manifest.json").exists()
    (tmp_path / "cut/.shard-00002.arrow.99").write_bytes(b"half a shard")
    read_until(1000)
    prepare(config(tmp_path / "cut"))
    assert len(made) == 20 + 34 - 16  # the two finished shards were not made again
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_a_shard_damaged_between_two_runs_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(config(tmp_path / "whole"))
    monkeypatch.setattr(finishing, "finish", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(config(tmp_path / "cut"))
    monkeypatch.undo()
    (tmp_path / "cut/shard-00001.arrow").write_bytes(b"damaged")
    prepare(config(tmp_path / "cut"))
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def _interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_finished_dataset_is_kept_and_a_damaged_one_made_again(tmp_path: Path) -> None:
    prepare(config(tmp_path / "a"))
    before = files(tmp_path / "a")
    _, lines = prepare(config(tmp_path / "a"))
    assert any("is prepared already, checksums agree" in line for line in lines)
    (tmp_path / "a/shard-00003.arrow").write_bytes(b"damaged")
    _, lines = prepare(config(tmp_path / "a"))
    assert any("shard-00003.arrow: its checksum is not the manifest's" in line for line in lines)
    assert files(tmp_path / "a") == before


def test_other_settings_never_overwrite_a_dataset(tmp_path: Path) -> None:
    prepare(config(tmp_path / "a"))
    with pytest.raises(ValueError, match=r"already holds a dataset prepared from other settings \(points\): choose another target"):
        prepare(config(tmp_path / "a", points=32))


def test_a_folder_with_other_files_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("ten years of work")
    with pytest.raises(ValueError, match=r"holds other files \(thesis.tex\): choose an empty folder"):
        prepare(config(tmp_path))
    assert files(tmp_path) == {"thesis.tex": b"ten years of work"}


def test_a_damaged_dataset_among_other_files_is_left_as_it_is(tmp_path: Path) -> None:
    prepare(config(tmp_path / "a"))
    (tmp_path / "a/thesis.tex").write_text("ten years of work")
    prepare(config(tmp_path / "a"))  # whole: it is only checked
    (tmp_path / "a/shard-00000.arrow").write_bytes(b"damaged")
    before = files(tmp_path / "a")
    with pytest.raises(ValueError, match=r"holds other files \(thesis.tex\)"):
        prepare(config(tmp_path / "a"))
    assert files(tmp_path / "a") == before


def test_a_target_that_is_a_file_is_refused_and_nothing_written_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file")
    with pytest.raises(ValueError, match="a is a file, not a folder"):
        prepare(config(tmp_path / "a"))
    assert files(tmp_path) == {"a": b"a file"}


def test_a_reader_that_fails_in_an_unforeseen_way_costs_one_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(item: Item, cfg: Synthetic) -> Shape:
        return synthetic.read(item, cfg) if item.id != synthetic.list_items(cfg)[3].id else len(None)  # type: ignore[arg-type, return-value]

    monkeypatch.setitem(tables.SOURCES, "synthetic", replace(tables.SOURCES["synthetic"], read=read))
    manifest, _ = prepare(config(tmp_path / "a"))
    assert manifest["rejects"] == 1
    assert "cannot be read (TypeError: object of type 'NoneType'" in (tmp_path / "a/rejects.jsonl").read_text()


def test_an_interrupted_command_says_that_the_same_goes_on(tmp_path: Path) -> None:
    section = config(tmp_path / "a", shapes=20_000, shard_rows=2)
    command = subprocess.Popen(
        [sys.executable, "-m", "jobs.prepare"], cwd=ROOT, env={**os.environ, names.ENV_DATA_CONFIG: section.model_dump_json()},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as `adacrossnet data prepare` starts it
    )  # fmt: skip
    assert command.stdout is not None
    assert "/20000 shapes" in command.stdout.readline()
    command.terminate()
    _, said = command.communicate(timeout=60)
    assert (command.returncode, said) == (130, "prepare: interrupted: finished shards are kept; the same command goes on\n")
    assert list((tmp_path / "a").glob("shard-*.arrow")) and not (tmp_path / "a/manifest.json").exists()


def test_a_dataset_without_validation_shapes_says_so(tmp_path: Path) -> None:
    for number in range(2):
        write_cloud(tmp_path / "raw", "0001", f"{number}", cloud(number))
    _, lines = prepare(ShapenetRender(kind="shapenet-render", source=tmp_path / "raw", target=tmp_path / "a", points=40))
    said = [line for line in lines if line.startswith("no ")]
    assert [line.split(":")[0] for line in said] == [f"no {word} shape in 1 of 1 categories (0001)" for word in ("validation", "test")]
    assert "0001 is the only category: pretraining can use it, the linear SVM needs two" in lines


def test_categories_whose_folders_name_no_test_split_are_named(tmp_path: Path) -> None:
    for number in range(12):  # bare has no split folders, split has train alone
        folder = tmp_path / "raw" / ("bare" if number % 2 else "split/train")
        folder.mkdir(parents=True, exist_ok=True)
        corners = "\n".join(" ".join(map(str, corner)) for corner in ((0, 0, 0), (1 + number, 0, 0), (0, 1, 0), (0, 0, 1)))
        (folder / f"{number}.off").write_text(f"OFF\n4 4 0\n{corners}\n3 0 1 2\n3 0 1 3\n3 0 2 3\n3 1 2 3\n")
    _, lines = prepare(Meshes(kind="meshes", source=tmp_path / "raw", target=tmp_path / "a", points=40, views=0))
    (said,) = [line for line in lines if line.startswith("no ")]
    assert said.startswith("no test shape in 2 of 2 categories (bare, split): a source that names splits")


def test_a_mistyped_target_is_left_as_it_was_and_nothing_made_beside_it(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis.tex").write_text("ten years of work")
    with pytest.raises(ValueError, match=r"holds other files \(thesis.tex\)"):
        prepare(config(tmp_path / "home"))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["home", "thesis.tex"]


def test_progress_is_shown_to_the_end(tmp_path: Path) -> None:
    _, lines = prepare(config(tmp_path / "a"))
    assert any(line.startswith("34/34 shapes, ") and line.endswith(" s left") for line in lines)
    assert any("16 categories, 64 points, 1 views a shape" in line for line in lines)


def test_shapes_with_fewer_points_are_resampled_and_counted(tmp_path: Path) -> None:
    for number in range(4):
        write_cloud(tmp_path / "raw", "0001", f"{number}", cloud(number, 50 if number < 3 else 90))
    manifest, lines = prepare(ShapenetRender(kind="shapenet-render", source=tmp_path / "raw", target=tmp_path / "a", points=80))
    assert manifest["resampled"] == 3
    assert "3 shapes had fewer than 80 points and were resampled" in lines
    dataset = PreparedDataset(tmp_path / "a", None)
    for row in range(4):
        original = cloud(int(dataset.ids[row][-1]), 50 if row < 3 else 90).astype(np.float32)
        stored = {tuple(point) for point in dataset.points(row).tolist()}
        assert len(stored) == (50 if row < 3 else 80) and stored <= {tuple(point) for point in original.tolist()}


def test_broken_files_are_listed_with_their_reasons_and_the_rest_is_prepared(tmp_path: Path) -> None:
    for number in range(12):
        write_cloud(tmp_path / "raw", "0001", f"{number:02d}", cloud(number))
    write_cloud(tmp_path / "raw", "0002", "copy", cloud(5))
    clouds, views = tmp_path / "raw/ShapeNet/0001", tmp_path / "raw/ShapeNetRendering/0001"
    (clouds / "00.ply").write_text("ply\n")
    (clouds / "01.ply").write_text(HEAD.format(20) + "nan 0 0\n" * 20)
    (clouds / "02.ply").unlink()
    (views / "03/rendering/00.png").write_bytes(b"\x89PNG")
    manifest, lines = prepare(ShapenetRender(kind="shapenet-render", source=tmp_path / "raw", target=tmp_path / "a", points=40))
    rejects = {line["id"]: line["reason"] for line in map(json.loads, (tmp_path / "a/rejects.jsonl").read_text().splitlines())}
    assert set(rejects) == {"0001/00", "0001/01", "0001/02", "0001/03", "0001/05", "0002/copy"}
    assert "several labels: 0001, 0002" in rejects["0001/05"] and "not finite" in rejects["0001/01"]
    assert manifest["rejects"] == 6 and sum(split["count"] for split in manifest["splits"].values()) == 7
    assert any(line.startswith("6 rejects, each with its reason in ") for line in lines)


def test_a_source_of_nothing_but_broken_files_is_an_error_with_the_first_reason(tmp_path: Path) -> None:
    (tmp_path / "raw/chair").mkdir(parents=True)
    (tmp_path / "raw/chair/a.off").write_text("")
    with pytest.raises(ValueError, match=r"none of the 1 shapes can be used: .*rejects.jsonl says why .*the file is empty"):
        prepare(Meshes(kind="meshes", source=tmp_path / "raw", target=tmp_path / "a", views=0))


def test_a_mesh_whose_name_is_not_utf8_is_a_reject_and_the_rest_is_prepared(tmp_path: Path) -> None:
    (tmp_path / "raw/chair").mkdir(parents=True)
    mesh = "OFF\n3 1 0\n0 0 0\n1 0 0\n0 {} 0\n3 0 1 2\n"
    (tmp_path / "raw/chair/a.off").write_text(mesh.format(1))
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/raw/chair/b\xff.off")).write_text(mesh.format(2))
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    manifest, _ = prepare(Meshes(kind="meshes", source=tmp_path / "raw", target=tmp_path / "a", views=0, points=32))
    assert manifest["rejects"] == 1 and PreparedDataset(tmp_path / "a", None).ids == ["chair/a.off"]


@pytest.mark.parametrize("name", [b"ShapeNet/0001/b\xff.ply", b"ShapeNetRendering/0001/b\xff/rendering/00.png", b"ShapeNet/0\xff/b.ply"])
def test_a_cloud_whose_name_is_not_utf8_is_a_reject_and_the_rest_is_prepared(name: bytes, tmp_path: Path) -> None:
    write_cloud(tmp_path / "raw", "0001", "a", cloud(0))
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/raw/" + name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((tmp_path / "raw/ShapeNet/0001/a.ply").read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    manifest, _ = prepare(ShapenetRender(kind="shapenet-render", source=tmp_path / "raw", target=tmp_path / "a", points=40))
    (reject,) = map(json.loads, (tmp_path / "a/rejects.jsonl").read_text().splitlines())
    assert r"\xff" in reject["id"] and "its path is not UTF-8: b'" in reject["reason"]
    assert manifest["rejects"] == 1 and PreparedDataset(tmp_path / "a", None).ids == ["0001/a"]


def test_a_broken_view_whose_name_is_not_utf8_is_skipped_with_its_name(tmp_path: Path) -> None:
    write_cloud(tmp_path / "raw", "0001", "a", cloud(0))
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/raw/ShapeNetRendering/0001/a/rendering/b\xff.png")).write_bytes(b"no image")
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    prepare(ShapenetRender(kind="shapenet-render", source=tmp_path / "raw", target=tmp_path / "a", points=40))
    (reject,) = map(json.loads, (tmp_path / "a/rejects.jsonl").read_text().splitlines())
    assert reject["path"] == r"ShapeNetRendering/0001/a/rendering/b\xff.png"


def test_a_class_with_one_shape_goes_to_train(tmp_path: Path) -> None:
    for number in range(10):
        write_cloud(tmp_path / "raw", "many", f"{number}", cloud(number))
    write_cloud(tmp_path / "raw", "single", "only", cloud(99))
    manifest, _ = prepare(ShapenetRender(kind="shapenet-render", source=tmp_path / "raw", target=tmp_path / "a", points=40))
    assert [manifest["splits"][split]["categories"]["single"] for split in ("train", "val", "test")] == [1, 0, 0]
    assert [manifest["splits"][split]["categories"]["many"] for split in ("train", "val", "test")] == [8, 1, 1]


def test_a_missing_source_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere does not exist"):
        prepare(Meshes(kind="meshes", source=tmp_path / "nowhere", target=tmp_path / "a"))
    assert not (tmp_path / "a").exists()


def test_a_changed_source_is_not_taken_for_the_prepared_one(tmp_path: Path) -> None:
    for number in range(3):
        write_cloud(tmp_path / "raw", "0001", f"{number}", cloud(number))
    data = ShapenetRender(kind="shapenet-render", source=tmp_path / "raw", target=tmp_path / "a", points=40)
    prepare(data)
    write_cloud(tmp_path / "raw", "0001", "new", cloud(7))
    with pytest.raises(ValueError, match="another source, or its files have changed since"):
        prepare(data)


def rewrite(path: Path) -> None:
    """Another digit of its last number: the same size, and a later time."""
    text, stat = path.read_text(), path.stat()
    at = text.rindex("0.") + 2
    path.write_text(text[:at] + ("2" if text[at] == "1" else "1") + text[at + 1 :])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


def raw_clouds(folder: Path) -> ShapenetRender:
    for number in range(3):
        write_cloud(folder / "raw", "0001", f"{number}", cloud(number))
    return ShapenetRender(kind="shapenet-render", source=folder / "raw", target=folder / "a", points=40, shard_rows=1)


def test_a_file_rewritten_with_equal_size_is_a_changed_source(tmp_path: Path) -> None:
    data = raw_clouds(tmp_path)
    prepare(data)
    prepare(data)
    rewrite(tmp_path / "raw/ShapeNet/0001/1.ply")
    with pytest.raises(ValueError, match="another source, or its files have changed since"):
        prepare(data)


def test_a_restart_makes_the_shard_of_a_rewritten_file_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = raw_clouds(tmp_path)
    monkeypatch.setattr(finishing, "finish", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(data)
    monkeypatch.undo()
    rewrite(tmp_path / "raw/ShapeNet/0001/1.ply")
    prepare(data)
    prepare(data.model_copy(update={"target": tmp_path / "fresh"}))
    assert files(tmp_path / "a") == files(tmp_path / "fresh")


def test_the_bytes_do_not_depend_on_when_the_raw_files_were_written(tmp_path: Path) -> None:
    data = raw_clouds(tmp_path)
    prepare(data)
    for path in (tmp_path / "raw").rglob("*"):
        os.utime(path, (1, 1))
    prepare(data.model_copy(update={"target": tmp_path / "later"}))
    assert files(tmp_path / "a") == files(tmp_path / "later")


def test_a_dataset_made_by_another_version_of_its_kind_is_not_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(config(tmp_path / "a"))
    manifest = json.loads((tmp_path / "a/manifest.json").read_text())
    assert manifest["data"].pop("version") == 1
    (tmp_path / "a/manifest.json").write_text(json.dumps(manifest))
    prepare(config(tmp_path / "a"))  # as the first manifests are
    monkeypatch.setitem(tables.SOURCES, "synthetic", replace(tables.SOURCES["synthetic"], version=2))
    with pytest.raises(ValueError, match=r"prepared from other settings \(version\): choose another target"):
        prepare(config(tmp_path / "a"))


def test_a_prepared_dataset_is_only_checked(tmp_path: Path) -> None:
    manifest, _ = prepare(config(tmp_path / "a"))
    assert prepare(Prepared(kind="prepared", target=tmp_path / "a"))[0] == manifest
    (tmp_path / "a/shard-00000.arrow").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"is damaged:\n  shard-00000.arrow: its checksum"):
        prepare(Prepared(kind="prepared", target=tmp_path / "a"))


def test_the_command_prepares_one_section_and_ends_with_one_line_on_an_error(tmp_path: Path) -> None:
    def run(section: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, names.ENV_DATA_CONFIG: json.dumps(section)}
        return subprocess.run([sys.executable, "-m", "jobs.prepare"], cwd=ROOT, env=env, capture_output=True, text=True)

    section = {"kind": "synthetic", "shapes": 4, "points": 64, "views": 1, "image_size": 32, "target": str(tmp_path / "a")}
    done = run(section)
    assert done.returncode == 0 and "prepare: 4/4 shapes" in done.stdout
    refused = run({**section, "shapes": 5})
    assert refused.returncode == 1 and refused.stderr.startswith("prepare: error: ") and len(refused.stderr.splitlines()) == 1


def test_two_processes_preparing_one_folder_make_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one begins while the first has half of it; it waits, and then finds the finished dataset."""
    prepare(config(tmp_path / "alone"))
    second: list[subprocess.Popen[str]] = []

    def read(item: Item, cfg: Synthetic) -> Shape:
        if len(second) == 0 and item.id.startswith("lamp"):
            section = config(tmp_path / "a").model_dump(mode="json")
            env = {**os.environ, names.ENV_DATA_CONFIG: json.dumps(section)}
            command = [sys.executable, "-m", "jobs.prepare"]
            second.append(subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
            assert second[0].stdout is not None
            assert "is being prepared by another process: waiting" in second[0].stdout.readline()
        return synthetic.read(item, cfg)

    monkeypatch.setitem(tables.SOURCES, "synthetic", replace(tables.SOURCES["synthetic"], read=read))
    prepare(config(tmp_path / "a"))
    said, faults = second[0].communicate(timeout=60)
    assert second[0].returncode == 0, faults
    assert "is prepared already, checksums agree" in said
    assert files(tmp_path / "a") == files(tmp_path / "alone")


def test_synthetic_shapes_keep_the_splits_that_their_source_gives(tmp_path: Path) -> None:
    prepare(config(tmp_path / "a"))
    dataset = PreparedDataset(tmp_path / "a", None)
    assert dict(zip(dataset.ids, dataset.splits, strict=True)) == {
        item.id: item.split for item in synthetic.list_items(config(tmp_path / "a"))
    }


def test_the_name_is_the_sections_else_the_source_folders_else_the_kind(tmp_path: Path) -> None:
    assert name_of(config(tmp_path / "a")) == "synthetic"
    assert name_of(config(tmp_path / "a", name="probe-set")) == "probe-set"
    for source, name in (("ModelNet40", "modelnet40"), ("ShapeNet Core.v2_1/", "shapenet-core-v2_1"), ("a/b/..", "a")):
        assert name_of(Meshes(kind="meshes", source=tmp_path / source)) == name
    for source, name in (("мой mesh дир", "mesh"), ("__x", "x"), ("y" * 60, "y" * 41), ("дир", "meshes")):
        assert name_of(Meshes(kind="meshes", source=tmp_path / source)) == name
    assert name_of(ShapenetRender(kind="shapenet-render", source=Path("/"))) == "shapenet-render"


def test_a_renamed_dataset_is_the_same_data_under_the_new_name(tmp_path: Path) -> None:
    first, _ = prepare(config(tmp_path / "a"))
    other, _ = prepare(config(tmp_path / "b", name="other"))
    assert (first["name"], other["name"]) == ("synthetic", "other") and first["digest"] == other["digest"]
    before = files(tmp_path / "a")
    manifest, lines = prepare(config(tmp_path / "a", name="other"))
    assert any("is prepared already, checksums agree" in line for line in lines)
    assert manifest == read_manifest(tmp_path / "a") == other
    after = files(tmp_path / "a")
    assert [name for name in before if before[name] != after[name]] == ["manifest.json"]
    assert prepare(config(tmp_path / "a"))[0]["name"] == "other"  # a section without a name leaves it


def test_a_manifest_without_a_name_reads_as_its_kind(tmp_path: Path) -> None:
    prepare(config(tmp_path / "a"))
    path = tmp_path / "a" / "manifest.json"
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "name"}))
    assert read_manifest(tmp_path / "a")["name"] == "synthetic"


def test_ray_tasks_give_the_bytes_of_one_process(tmp_path: Path) -> None:
    prepare(config(tmp_path / "alone"))
    code = (
        "import ray; from pathlib import Path; from jobs.config import check_data; from jobs.prepare import prepare\n"
        "if __name__ == '__main__':\n"
        "    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000)\n"
        f"    prepare(check_data({config(tmp_path / 'ray').model_dump(mode='json')!r}, 'test'), say=print, parallel=True)\n"
    )
    script = tmp_path / "over_ray.py"
    script.write_text(code)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    env.pop("RAY_ADDRESS", None)
    done = subprocess.run([sys.executable, str(script)], env=env, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "34/34 shapes" in done.stdout
    assert files(tmp_path / "ray") == files(tmp_path / "alone")
