"""What an import takes for k, and what it says. MLflow's own store, no server."""
from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from jobs.config.pipeline import WITH_NEIGHBOURS
from jobs.import_published import main, settings_of
from jobs.models.dgcnn import DGCNN
from jobs.models.tables import BACKBONES, build_backbone


@pytest.mark.parametrize("name", WITH_NEIGHBOURS)
def test_a_backbone_with_neighbours_is_refused_where_nothing_tells_k(name: str) -> None:
    with pytest.raises(ValueError, match="--variant nonsense: there are crosspoint, crossnet, adacrossnet"):
        settings_of("pointnet", "nonsense", None)
    with pytest.raises(ValueError, match=r"does not hold k: give --variant crosspoint\|crossnet\|adacrossnet, or --k"):
        settings_of(name, None, None)
    assert settings_of(name, None, 7).k == settings_of(name, "crosspoint", 7).k == 7


def test_k_is_the_projects_own() -> None:
    assert [settings_of("dgcnn", variant, None).k for variant in ("crosspoint", "crossnet", "adacrossnet")] == [15, 20, 20]
    assert settings_of("rpc", "adacrossnet", None).k == 30


@pytest.mark.parametrize("name", BACKBONES)
def test_only_backbones_that_keep_no_k_are_imported_without_one(name: str) -> None:
    assert hasattr(build_backbone(name, 4), "k") == (name in WITH_NEIGHBOURS)
    if name not in WITH_NEIGHBOURS:
        assert settings_of(name, None, None).name == name


def test_an_import_says_with_which_k_it_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # where artifacts go
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.sqlite'}")
    torch.save(DGCNN(15).state_dict(), tmp_path / "best_model.pth")
    command = ["import", "best_model.pth", "--backbone", "dgcnn"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit, match="import: error: dgcnn takes k neighbours and the file does not hold k"):
        main()
    monkeypatch.setattr(sys, "argv", [*command, "--variant", "crosspoint"])
    main()
    assert "registered as adacrossnet-dgcnn version 1, k = 15\n" in capsys.readouterr().out
    assert MlflowClient().get_model_version("adacrossnet-dgcnn", "1").tags["k"] == "15"
