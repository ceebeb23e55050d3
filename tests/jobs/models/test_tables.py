"""Tables of constructors hold exactly what the config can ask for."""
from typing import get_args

import pytest

from jobs.config.sections import Backbone, Image
from jobs.models.tables import BACKBONES, TOWERS, build_backbone, build_tower


def test_the_tables_hold_the_schemas_choices() -> None:
    assert set(BACKBONES) == set(get_args(Backbone.model_fields["name"].annotation))
    assert set(TOWERS) == set(get_args(Image.model_fields["tower"].annotation))


@pytest.mark.parametrize(("name", "width"), [("dgcnn", 2048), ("pointnet", 1024)])
def test_every_backbone_says_its_width(name: str, width: int) -> None:
    assert build_backbone(name, 4).feature_dim == width


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'dgcn'; there are dgcnn, pointnet"):
        build_backbone("dgcn", 4)
    with pytest.raises(ValueError, match="'vit'; there are resnet18, resnet50"):
        build_tower("vit", 3)
