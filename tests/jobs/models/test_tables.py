"""Tables of constructors hold exactly what the config can ask for."""
from typing import get_args

import pytest
import torch

from jobs.config.sections import Backbone, Image
from jobs.models.crossmodal import CrossModal
from jobs.models.tables import BACKBONES, TOWERS, build_backbone, build_tower


def test_the_tables_hold_the_schemas_choices() -> None:
    assert set(BACKBONES) == set(get_args(Backbone.model_fields["name"].annotation))
    assert set(TOWERS) == set(get_args(Image.model_fields["tower"].annotation))


WIDTHS = {"dgcnn": 2048, "dgcnn_partseg": 1024, "dgcnn_semseg": 1024, "pointnet": 1024, "pointnet_partseg": 2048, "rpc": 2048}


@pytest.mark.parametrize(("name", "width"), WIDTHS.items())
def test_every_backbone_says_its_width(name: str, width: int) -> None:
    assert build_backbone(name, 4).feature_dim == width


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'dgcn'; there are dgcnn, dgcnn_partseg"):
        build_backbone("dgcn", 4)
    with pytest.raises(ValueError, match="'vit'; there are resnet18, resnet50"):
        build_tower("vit", 3)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_trains_with_a_projection_as_wide_as_its_features(name: str) -> None:
    torch.manual_seed(0)
    model = CrossModal(backbone=name, k=4, tower="resnet18", grey=False)
    z_points_2BE, z_rgb_BE, _ = model(torch.randn(4, 260, 3), torch.randn(2, 3, 32, 32), None)
    (z_points_2BE.square().mean() + z_rgb_BE.square().mean()).backward()
    silent = [key for key, value in model.named_parameters() if value.grad is None]
    assert not silent, "DDP waits for ever for a parameter without a gradient"
