"""ResNet image towers with torchvision's parameter names. B images, C channels, H x W pixels, D pooled features (512 or 2,048).

He et al. 2016, "Deep Residual Learning for Image Recognition"; a bottleneck strides in its 3 x 3 convolution, as torchvision does.
"""
from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from .batchnorm import BatchNorm


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = BatchNorm(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = BatchNorm(width)
        self.downsample = _shortcut(channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions beside a shortcut."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = BatchNorm(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = BatchNorm(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = BatchNorm(out_channels)
        self.downsample = _shortcut(channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + shortcut)


def _shortcut(channels: int, out_channels: int, stride: int) -> nn.Module | None:
    if stride == 1 and channels == out_channels:
        return None
    return nn.Sequential(nn.Conv2d(channels, out_channels, 1, stride, bias=False), BatchNorm(out_channels))


class ResNet(nn.Module):
    """images_BCHW -> feat_BD: everything of torchvision's ResNet but the classifier `fc`."""

    def __init__(self, block: type[BasicBlock] | type[Bottleneck], depths: tuple[int, int, int, int], channels: int) -> None:
        super().__init__()
        self.feature_dim = 512 * block.expansion
        self.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        self.bn1 = BatchNorm(64)
        self.layer1 = _stage(block, 64, 64, depths[0], 1)
        self.layer2 = _stage(block, 64 * block.expansion, 128, depths[1], 2)
        self.layer3 = _stage(block, 128 * block.expansion, 256, depths[2], 2)
        self.layer4 = _stage(block, 256 * block.expansion, 512, depths[3], 2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, 512 or 2048]. Raises ValueError when the images do not have the tower's channels."""
        if images_BCHW.dim() != 4 or images_BCHW.shape[1] != self.conv1.in_channels:
            raise ValueError(f"this tower takes images [B, {self.conv1.in_channels}, H, W], not {list(images_BCHW.shape)}")
        x = F.relu(self.bn1(self.conv1(images_BCHW)))
        x = F.max_pool2d(x, 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean((2, 3))


def _stage(block: type[BasicBlock] | type[Bottleneck], channels: int, width: int, depth: int, stride: int) -> nn.Sequential:
    rest = [block(width * block.expansion, width, 1) for _ in range(depth - 1)]
    return nn.Sequential(block(channels, width, stride), *rest)


def resnet18(channels: int) -> ResNet:
    """ResNet-18 (512 features) for images of `channels` channels, 3 or 1."""
    return ResNet(BasicBlock, (2, 2, 2, 2), channels)


def resnet50(channels: int) -> ResNet:
    """ResNet-50 (2,048 features) for images of `channels` channels, 3 or 1."""
    return ResNet(Bottleneck, (3, 4, 6, 3), channels)


def load_torchvision(model: ResNet, state_dict: Mapping[str, Tensor]) -> None:
    """Load a state dict of torchvision's resnet of the same depth, leaving its classifier (`fc.*`) out.

    A one-channel tower takes the sum of the first convolution's three channels, which answers a grey image as the RGB tower answers it
    repeated three times. Raises ValueError naming the tensors that are missing, unknown or of another shape.
    """
    tensors = {name: tensor for name, tensor in state_dict.items() if not name.startswith("fc.")}
    first = tensors.get("conv1.weight")
    if first is not None and first.dim() == 4 and first.shape[1] == 3 and model.conv1.in_channels == 1:
        tensors["conv1.weight"] = first.sum(1, keepdim=True)
    own = model.state_dict()
    missing, unknown = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    shapes = [name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape]
    if missing or unknown or shapes:
        raise ValueError(
            f"the state dict does not fit this ResNet (another depth?): missing {missing[:3]}, unknown {unknown[:3]}, "
            f"other shape {sorted(shapes)[:3]} (the first three of {len(missing)}, {len(unknown)} and {len(shapes)})"
        )
    model.load_state_dict(tensors)
