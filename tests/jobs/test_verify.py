import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs.config.datasets import Synthetic
from jobs.data.format import digest, map_table, write_table
from jobs.prepare import prepare
from jobs.verify import verify

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    cfg = Synthetic(kind="synthetic", shapes=20, points=64, views=2, image_size=32, shard_rows=10, target=folder)
    prepare(cfg, say=lambda line: None, parallel=False)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def rewrite(folder: Path, column: str, change: Any) -> None:
    """Change a column of the first shard and make all checksums fit again, as a faulty writer would leave it."""
    table = map_table(folder / "shard-00000.arrow")
    place = table.column_names.index(column)
    values = table.column(column).to_pylist()
    change(values)
    changed = table.set_column(place, column, pa.array(values, table.schema.field(column).type))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["shards"][0]["sha256"] = write_table(folder / "shard-00000.arrow", changed)
    manifest["digest"] = digest(manifest["shards"], manifest["index_sha256"])
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_whole_dataset_has_no_fault(whole: Path) -> None:
    assert verify(whole) == []


def test_a_damaged_file_is_named(folder: Path) -> None:
    data = bytearray((folder / "shard-00001.arrow").read_bytes())
    data[-200] ^= 255
    (folder / "shard-00001.arrow").write_bytes(data)
    assert verify(folder) == ["shard-00001.arrow: its checksum is not the manifest's; the file was changed or damaged"]


def test_points_that_are_not_finite_are_found(folder: Path) -> None:
    rewrite(folder, "points", lambda clouds: clouds[3].__setitem__(5, np.nan))
    (fault,) = verify(folder)
    assert fault.endswith(": 1 points are not finite")


def test_a_view_that_does_not_decode_is_found(folder: Path) -> None:
    rewrite(folder, "views", lambda views: views[2].__setitem__(1, views[2][1][:40]))
    (fault,) = verify(folder)
    assert fault.endswith(": view 1 does not decode as an image")


def test_a_part_without_a_name_is_found(folder: Path) -> None:
    rewrite(folder, "parts", lambda parts: parts[0].__setitem__(0, 9999))
    (fault,) = verify(folder)
    assert fault.endswith("a part that the manifest's part_names does not hold")


def test_counts_that_the_index_or_the_rejects_do_not_bear_out_are_found(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["splits"]["train"]["categories"]["bed"] += 1
    manifest["rejects"] = 2
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert verify(folder) == [
        "index.arrow: 1 shapes of bed in train, the manifest says 2",
        "rejects.jsonl: 0 lines, the manifest says 2 rejects",
    ]


@pytest.mark.soak
def test_the_command_reports_in_words_and_json_and_ends_with_one_on_faults(folder: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "jobs.verify", *arguments], cwd=ROOT, capture_output=True, text=True)

    good = run(str(folder))
    assert good.returncode == 0 and "whole. synthetic, kind synthetic, " in good.stdout
    (folder / "index.arrow").unlink()
    bad, missing = run(str(folder), "--json"), run(str(folder / "nowhere"))
    report = json.loads(bad.stdout)
    assert bad.returncode == 1 and report["ok"] is False and report["faults"] == ["index.arrow: missing"]
    words, file = run(str(folder)), run(str(folder / "manifest.json"))
    assert "1 fault\n" in words.stdout and "the same `data prepare` again makes what is damaged anew" in words.stdout
    assert "is a file: name the folder of the prepared dataset" in file.stdout
    assert missing.returncode == 1 and "does not exist: prepare a dataset there first" in missing.stdout
