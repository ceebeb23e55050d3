"""Published state dicts are read strictly and without running their code."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from jobs.models.dgcnn import DGCNN
from jobs.models.pointnet import PointNet
from jobs.models.projection import inv_head
from jobs.models.published import fit, read_file
from jobs.models.tables import build_backbone
from tests.jobs.models.published import published


def pointnet_state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    head = {f"inv_head.{name}": value for name, value in inv_head(1024).state_dict().items()}
    return {**PointNet().state_dict(), **head}


@pytest.mark.parametrize("prefix", ["", "module.", "module.module."])
@pytest.mark.parametrize("wrapper", [None, "model_state_dict", "state_dict"])
def test_wrappings_and_prefixes_of_training_scripts_are_taken_off(prefix: str, wrapper: str | None, tmp_path: Path) -> None:
    state = pointnet_state()
    saved: object = {f"{prefix}{name}": value for name, value in state.items()}
    torch.save(saved if wrapper is None else {wrapper: saved, "epoch": 3}, tmp_path / "best_model.pth")
    reading = fit(read_file(tmp_path / "best_model.pth"), PointNet())
    assert reading.weights.keys() == PointNet().state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in reading.weights.items())
    assert len(reading.left_out) == 9 and all("the projection" in line for line in reading.left_out)


def test_every_missing_unknown_misshapen_and_unfinite_name_is_listed() -> None:
    state = pointnet_state()
    state["conv3.weight"] = torch.zeros(64, 65, 1)
    state["bn2.bias"] = torch.full((64,), torch.nan)
    state["attention.weight"] = torch.zeros(3)
    state["inv_head.9.weight"] = torch.zeros(3)
    del state["conv1.weight"], state["bn5.running_var"]
    with pytest.raises(ValueError) as error:
        fit(state, PointNet())
    said = str(error.value)
    for line in (
        "conv3.weight: shape [64, 65, 1], expected [64, 64, 1]",
        "bn2.bias: values that are not finite",
        "attention.weight: unknown to PointNet",
        "inv_head.9.weight: unknown to PointNet",
        "conv1.weight: missing",
        "bn5.running_var: missing",
    ):
        assert line in said
    assert "(6 of" in said


def test_complex_and_sparse_values_are_faults_whatever_they_hold() -> None:
    state = pointnet_state()
    state["conv1.weight"] = state["conv1.weight"].to(torch.complex64)
    state["conv2.weight"] = state["conv2.weight"].to_sparse()
    state["bn3.bias"] = torch.full((64,), 1e300, dtype=torch.float64)
    with pytest.raises(ValueError) as error:
        fit(state, PointNet())
    for line in ("conv1.weight: complex values", "conv2.weight: a sparse", "bn3.bias: values that are not finite", "(3 of"):
        assert line in str(error.value)
    twin = DGCNN(4).state_dict()
    with pytest.raises(ValueError, match=r"bn1.weight: complex values"):
        fit({"bn1.weight": twin["conv1.1.weight"].to(torch.complex64), **twin}, DGCNN(4))


@pytest.mark.parametrize(
    ("backbone", "left_out", "unknown"),
    [
        ("pointnet_partseg", ["convs1.weight", "bns3.running_var"], ["convs.weight", "convsensible.weight", "convs1x.bias", "bns1.scale"]),
        ("dgcnn_partseg", ["bn7.bias", "conv7.0.weight", "conv8.1.num_batches_tracked"], ["bn7.1.x.weight", "bn71.weight", "conv7"]),
        ("pointnet", [], ["convs1.weight", ".weight"]),
    ],
)
def test_only_tensors_of_published_layers_pass_as_not_used(backbone: str, left_out: list[str], unknown: list[str]) -> None:
    encoder = build_backbone(backbone, 4)
    own = encoder.state_dict()
    assert fit({**own, **dict.fromkeys(left_out, torch.zeros(1))}, encoder).left_out == [
        f"{name}: not used by the encoder's features" for name in left_out
    ]
    with pytest.raises(ValueError) as error:
        fit({**own, **dict.fromkeys(unknown, torch.zeros(1))}, encoder)
    assert all(f"{name}: unknown to" in str(error.value) for name in unknown)


def test_a_layer_under_two_names_is_read_once_and_the_other_name_reported() -> None:
    state = DGCNN(4).state_dict()
    state["bn1.weight"], state["bn2.weight"] = state["conv1.1.weight"], torch.full((64,), 7.0)
    reading = fit(state, DGCNN(4))
    assert reading.weights.keys() == DGCNN(4).state_dict().keys()
    assert reading.left_out == [
        "bn1.weight: another name of conv1.1.weight",
        "bn2.weight: another name of conv2.1.weight, whose other values are used, as the published code does",
    ]
    with pytest.raises(ValueError, match=r"bn1.weight: shape \[3\], expected \[64\] as conv1.1.weight"):
        fit({**state, "bn1.weight": torch.zeros(3)}, DGCNN(4))


def test_a_pickled_module_is_refused_with_the_way_out(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "module.pth")
    with pytest.raises(ValueError, match=r"refers to torch.nn.modules.linear.Linear.*refused.*torch.save\(model.state_dict\(\)"):
        read_file(tmp_path / "module.pth")


def test_files_that_hold_no_state_dict_say_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "best_model.pth"
    with pytest.raises(ValueError, match="there is no file"):
        read_file(path)
    path.write_text("not a model")
    with pytest.raises(ValueError, match=r"cannot be read as a PyTorch file \(UnpicklingError: Unsupported operand 110\)"):
        read_file(path)
    torch.save(pointnet_state(), path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"cannot be read as a PyTorch file \(.*is it whole"):
        read_file(path)
    for text in (b"hello world\n", b"<html>", b"\x80", b"PK\x03\x04"):
        path.write_bytes(text)
        with pytest.raises(ValueError, match=rf"{path} cannot be read as a PyTorch file \(.*torch.save\? Fetch it again"):
            read_file(path)
    for value, said in ((torch.zeros(2), "a Tensor"), ({"epoch": 3}, "'epoch': int"), ({}, "nothing")):
        torch.save(value, path)
        with pytest.raises(ValueError, match=said):
            read_file(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_damaged_file_is_read_or_refused_and_never_ends_in_a_traceback(zipped: bool, tmp_path: Path) -> None:
    path, small = tmp_path / "best_model.pth", {name: value[:2].clone() for name, value in PointNet().state_dict().items() if value.dim()}
    torch.save(small, path, _use_new_zipfile_serialization=zipped)
    whole, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    for length in (1000, len(whole)):  # the beginning, which holds the pickle; everywhere
        for _ in range(100):
            damaged = bytearray(whole)
            for place in rng.integers(length, size=3):
                damaged[place] ^= 1 << rng.integers(8)
            path.write_bytes(damaged)
            try:
                fit(read_file(path), PointNet())
            except ValueError as error:
                refused += str(path) in str(error)
    assert refused > 50


@pytest.mark.parametrize("prefixes", [("", "module."), ("module.", ""), ("module.", "module.module.")])
def test_a_name_with_and_without_its_prefix_is_refused(prefixes: tuple[str, str], tmp_path: Path) -> None:
    state = pointnet_state()
    one, other = ({f"{prefix}{name}": value for name, value in state.items()} for prefix in prefixes)
    other = dict(list(other.items())[3:5])
    torch.save({**one, **other}, tmp_path / "best_model.pth")
    with pytest.raises(ValueError, match=rf"best_model.pth holds {list(state)[3]} twice, with and without the prefix 'module.'"):
        read_file(tmp_path / "best_model.pth")


PRETRAINED = [
    ("dgcnn_cls", "dgcnn", 20),
    ("dgcnn_partseg_pretrain", "dgcnn_partseg", 20),
    ("dgcnn_semseg_pretrain", "dgcnn_semseg", 20),
    ("pointnet_cls", "pointnet", 20),
    ("rpc", "rpc", 30),
]
# Fine-tuned models answer with scores of points: their heads' tests compare them.
FINE_TUNED = [("dgcnn_partseg", "dgcnn_partseg", 20), ("pointnet_partseg", "pointnet_partseg", 20)]


@pytest.mark.parametrize(("model", "backbone", "k"), PRETRAINED + FINE_TUNED)
def test_every_tensor_of_a_published_file_is_read_or_named(model: str, backbone: str, k: int, tmp_path: Path) -> None:
    state, _ = published(model)
    torch.save({f"module.{name}": value for name, value in state.items()}, tmp_path / "best_model.pth")
    encoder = build_backbone(backbone, k)
    reading = fit(read_file(tmp_path / "best_model.pth"), encoder)
    assert reading.weights.keys() == encoder.state_dict().keys()
    assert {*reading.weights, *(line.partition(":")[0] for line in reading.left_out)} == state.keys()


@pytest.mark.parametrize(("model", "backbone", "k"), PRETRAINED)
def test_a_published_encoder_gives_the_published_features(model: str, backbone: str, k: int) -> None:
    state, answers = published(model)
    encoder = build_backbone(backbone, k)
    encoder.load_state_dict(fit(state, encoder).weights)
    with torch.no_grad():
        feat_BD = encoder.eval()(torch.from_numpy(answers["points"]).transpose(1, 2).contiguous())
    expected = torch.from_numpy(answers["feature"])
    torch.testing.assert_close(feat_BD, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
