import json
import subprocess
import sys
from pathlib import Path

from jobs.config.datasets import Synthetic
from jobs.list_data import prepared_in
from jobs.prepare import prepare


def test_prepared_datasets_are_listed_with_splits_size_and_digest_and_broken_ones_with_the_reason(tmp_path: Path) -> None:
    cfg = Synthetic(kind="synthetic", shapes=32, points=16, views=1, image_size=16, target=tmp_path / "one")
    manifest = prepare(cfg, say=lambda line: None, parallel=False)
    (tmp_path / "none").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "manifest.json").write_text("{")
    one, two = prepared_in([tmp_path])
    assert one["digest"] == manifest["digest"] and sum(one["splits"].values()) == 32
    assert one["bytes"] == sum(path.stat().st_size for path in (tmp_path / "one").iterdir())
    assert "is not JSON" in two["error"]
    assert prepared_in([tmp_path / "one"]) == [one]
    command = [sys.executable, "-m", "jobs.list_data", str(tmp_path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "synthetic" in text and one["digest"][:12] in text and str(tmp_path / "two") in text
    assert json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout) == [one, two]
