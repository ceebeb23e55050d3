"""Constructors by the names that a config uses."""
from __future__ import annotations

from collections.abc import Callable

from torch import nn

from .dgcnn import DGCNN
from .dgcnn_partseg import DGCNNPartSeg
from .dgcnn_semseg import DGCNNSemSeg
from .pointnet import PointNet
from .pointnet_partseg import PointNetPartSeg
from .resnet import ResNet, resnet18, resnet50
from .rpc import RPC

BACKBONES: dict[str, Callable[[int], nn.Module]] = {
    "dgcnn": DGCNN,
    "dgcnn_partseg": DGCNNPartSeg,
    "dgcnn_semseg": DGCNNSemSeg,
    "pointnet": lambda k: PointNet(),
    "pointnet_partseg": lambda k: PointNetPartSeg(),
    "rpc": RPC,
}
TOWERS: dict[str, Callable[[int], ResNet]] = {"resnet18": resnet18, "resnet50": resnet50}


def build_backbone(name: str, k: int) -> nn.Module:
    """The point encoder: points_BNC -> feat_BD, its width in `.feature_dim`. `k` neighbours matter to the dgcnn ones and to rpc."""
    if name not in BACKBONES:
        raise ValueError(f"no backbone is called {name!r}; there are {', '.join(sorted(BACKBONES))}")
    return BACKBONES[name](k)


def build_tower(name: str, channels: int) -> ResNet:
    """The image tower for 3 (RGB) or 1 (grey) channels: images_BCHW -> feat_BD, its width in `.feature_dim`."""
    if name not in TOWERS:
        raise ValueError(f"no image tower is called {name!r}; there are {', '.join(sorted(TOWERS))}")
    return TOWERS[name](channels)
