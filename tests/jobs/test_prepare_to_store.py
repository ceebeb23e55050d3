"""Preparing to a URI: the bytes of a folder's, restartable from another machine, and never taken for whole before it is."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.config.datasets import Synthetic
from jobs.config.places import Uri, place_of
from jobs.data import building, stores, synthetic, tables
from jobs.data.items import Item, Shape
from jobs.list_data import prepared_in
from jobs.prepare import prepare
from jobs.verify import verify
from tests.jobs.bucket import LocalStore, bucket_in

TARGET = "s3://shapes/sets/made"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    (tmp_path / "store/shapes").mkdir(parents=True)
    return bucket_in(tmp_path / "store", monkeypatch)


def config(target: Any, **changed: Any) -> Synthetic:
    values = {"kind": "synthetic", "shapes": 34, "points": 64, "views": 1, "image_size": 32, "shard_rows": 8, "target": target}
    return Synthetic.model_validate({**values, **changed})


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def quietly(cfg: Synthetic) -> dict[str, Any]:
    return prepare(cfg, say=lambda line: None, parallel=False)


def test_a_uri_gets_the_bytes_of_a_folder_the_manifest_last(store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write = stores.write
    monkeypatch.setattr(stores, "write", lambda file, data: (write(file, data), written.append(str(file)))[0])
    manifest = quietly(config(TARGET))
    assert [name for name in written if ".work" not in name][-1] == f"{TARGET}/manifest.json"
    quietly(config(tmp_path / "local"))
    assert files(tmp_path / "store/shapes/sets/made") == files(tmp_path / "local")
    shard = manifest["shards"][0]
    assert shard["bytes"] == (tmp_path / "local" / shard["file"]).stat().st_size and shard["fewest_views"] == 1
    lines: list[str] = []
    prepare(config(TARGET), say=lines.append, parallel=False)
    assert any("is prepared already, all files are there" in line for line in lines)
    assert verify(place_of(TARGET)) == []


def test_a_preparation_broken_off_is_no_dataset_and_another_machine_goes_on_with_its_shards(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quietly(config(tmp_path / "whole"))
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
        quietly(config(TARGET))
    assert sorted(stores.sizes(place_of(TARGET))) == ["shard-00000.arrow", "shard-00001.arrow"]
    with pytest.raises(ValueError, match=r"s3://shapes/sets/made holds no manifest.json: preparing it never finished"):
        verify(place_of(TARGET))
    (tmp_path / "store/shapes/sets/made/shard-00001.arrow").write_bytes(b"cut")  # not the size that its note tells
    read_until(1000)
    quietly(config(TARGET))
    assert len(made) == 20 + 34 - 8
    assert files(tmp_path / "store/shapes/sets/made") == files(tmp_path / "whole")


def test_a_shard_whose_note_did_not_come_is_made_again(store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = stores.write

    def cut(file: Any, data: Any) -> None:
        if isinstance(file, Uri) and file.name == "shard-00001.arrow.json":
            raise KeyboardInterrupt
        write(file, data)

    monkeypatch.setattr(stores, "write", cut)
    with pytest.raises(KeyboardInterrupt):
        quietly(config(TARGET))
    monkeypatch.setattr(stores, "write", write)
    made: list[int] = []
    build = building.shard_table
    monkeypatch.setattr(building, "shard_table", lambda **columns: (made.append(1), build(**columns))[1])
    quietly(config(TARGET))
    assert len(made) == 4
    assert verify(place_of(TARGET)) == []


def test_what_else_lies_there_is_left_alone_and_other_settings_overwrite_nothing(store: LocalStore, tmp_path: Path) -> None:
    stores.write(place_of("s3://shapes/papers/thesis.tex"), b"ten years of work")
    with pytest.raises(ValueError, match=r"s3://shapes/papers holds other files \(thesis.tex\)"):
        quietly(config("s3://shapes/papers"))
    quietly(config(TARGET))
    with pytest.raises(ValueError, match=r"s3://shapes/sets/made already holds a dataset prepared from other settings \(points\)"):
        quietly(config(TARGET, points=32))


def test_no_usable_shape_leaves_the_reasons_there(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(item: Item, cfg: Synthetic) -> Shape:
        raise OSError("broken")

    monkeypatch.setitem(tables.SOURCES, "synthetic", replace(tables.SOURCES["synthetic"], read=read))
    with pytest.raises(ValueError, match=r"none of the 34 shapes can be used: s3://shapes/sets/made/rejects.jsonl says why"):
        quietly(config(TARGET))
    reasons = stores.read(place_of(f"{TARGET}/rejects.jsonl")).decode().splitlines()
    assert len(reasons) == 34 and "broken" in json.loads(reasons[0])["reason"]
    assert not stores.is_file(place_of(f"{TARGET}/manifest.json"))


def test_verify_names_every_damaged_file_there_and_reads_each_once(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quietly(config(TARGET))
    folder, read, seen = tmp_path / "store/shapes/sets/made", stores.read, []
    monkeypatch.setattr(stores, "read", lambda file: (seen.append(file.name), read(file))[1])
    assert verify(place_of(TARGET)) == []
    assert sorted(name for name in seen if name.endswith(".arrow")) == ["index.arrow", *(f"shard-0000{n}.arrow" for n in range(5))]
    data = bytearray((folder / "shard-00003.arrow").read_bytes())
    data[-200] ^= 255
    (folder / "shard-00003.arrow").write_bytes(data)
    (folder / "shard-00001.arrow").unlink()
    assert verify(place_of(TARGET)) == [
        "shard-00001.arrow: missing",
        "shard-00003.arrow: its checksum is not the manifest's; the file was changed or damaged",
    ]
    (folder / "shard-00003.arrow").unlink()  # what the messages say
    quietly(config(TARGET))
    assert verify(place_of(TARGET)) == []


def test_datasets_there_are_listed_beside_those_in_folders(store: LocalStore, tmp_path: Path) -> None:
    manifest = quietly(config(TARGET))
    shutil.copytree(tmp_path / "store/shapes/sets/made", tmp_path / "here/made")
    there, here = prepared_in([place_of("s3://shapes/sets"), tmp_path / "here"])
    assert there["folder"] == TARGET and there["digest"] == manifest["digest"]
    assert {key: value for key, value in there.items() if key != "folder"} == {key: here[key] for key in here if key != "folder"}
    assert prepared_in([place_of(TARGET)]) == [there]
