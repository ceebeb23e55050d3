"""ResNets against a forward pass written out from a torchvision-like state dict."""
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from jobs.models.resnet import ResNet, load_torchvision, resnet18, resnet50

DEPTHS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


def torchvision_like(depth: int) -> dict[str, Tensor]:
    """A state dict with the names and shapes that torchvision's file of this depth has, `fc` too."""
    state: dict[str, Tensor] = {}

    def convolution(name: str, norm: str, out_channels: int, channels: int, size: int) -> None:
        state[f"{name}.weight"] = torch.randn(out_channels, channels, size, size) * (2 / (channels * size * size)) ** 0.5
        state[f"{norm}.weight"], state[f"{norm}.bias"] = torch.rand(out_channels) + 0.5, torch.randn(out_channels) * 0.1
        state[f"{norm}.running_mean"], state[f"{norm}.running_var"] = torch.randn(out_channels) * 0.1, torch.rand(out_channels) + 0.5
        state[f"{norm}.num_batches_tracked"] = torch.tensor(1)

    convolution("conv1", "bn1", 64, 3, 7)
    channels = 64
    for stage, blocks in enumerate(DEPTHS[depth], 1):
        width = 32 * 2**stage
        basic, bottleneck = [(width, channels, 3), (width, width, 3)], [(width, channels, 1), (width, width, 3), (4 * width, width, 1)]
        sizes = basic if depth == 18 else bottleneck
        for block in range(blocks):
            for number, (out_channels, into, size) in enumerate(sizes, 1):
                into = channels if number == 1 else into
                convolution(f"layer{stage}.{block}.conv{number}", f"layer{stage}.{block}.bn{number}", out_channels, into, size)
            if block == 0 and (stage > 1 or depth == 50):
                convolution(f"layer{stage}.0.downsample.0", f"layer{stage}.0.downsample.1", sizes[-1][0], channels, 1)
            channels = sizes[-1][0]
    state["fc.weight"], state["fc.bias"] = torch.randn(1000, channels), torch.randn(1000)
    return state


def written_out(state: dict[str, Tensor], depth: int, x: Tensor) -> Tensor:
    def layer(x: Tensor, name: str, norm: str, stride: int) -> Tensor:
        weight = state[f"{name}.weight"]
        x = F.conv2d(x, weight, None, stride, weight.shape[2] // 2)
        return F.batch_norm(x, state[f"{norm}.running_mean"], state[f"{norm}.running_var"], state[f"{norm}.weight"], state[f"{norm}.bias"])

    x = F.max_pool2d(layer(x, "conv1", "bn1", 2).relu(), 3, 2, 1)
    for stage, blocks in enumerate(DEPTHS[depth], 1):
        for block in range(blocks):
            at, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            shortcut = layer(x, f"{at}.downsample.0", f"{at}.downsample.1", stride) if f"{at}.downsample.0.weight" in state else x
            if depth == 18:
                x = layer(layer(x, f"{at}.conv1", f"{at}.bn1", stride).relu(), f"{at}.conv2", f"{at}.bn2", 1)
            else:
                x = layer(x, f"{at}.conv1", f"{at}.bn1", 1).relu()
                x = layer(layer(x, f"{at}.conv2", f"{at}.bn2", stride).relu(), f"{at}.conv3", f"{at}.bn3", 1)
            x = (x + shortcut).relu()
    return F.adaptive_avg_pool2d(x, 1).flatten(1)


def build(depth: int, channels: int) -> ResNet:
    return resnet18(channels) if depth == 18 else resnet50(channels)


@pytest.mark.parametrize(("depth", "width"), [(18, 512), (50, 2048)])
def test_torchvisions_state_dict_loads_and_gives_its_features(depth: int, width: int) -> None:
    torch.manual_seed(depth)
    state, model = torchvision_like(depth), build(depth, 3).eval()
    load_torchvision(model, state)
    images = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        found = model(images)
    assert found.shape == (2, width) and model.feature_dim == width
    torch.testing.assert_close(found, written_out(state, depth, images), rtol=1e-3, atol=1e-4)


def test_a_grey_tower_answers_as_the_rgb_tower_does_to_grey_thrice() -> None:
    torch.manual_seed(0)
    state = torchvision_like(18)
    rgb, grey = resnet18(3).eval(), resnet18(1).eval()
    load_torchvision(rgb, state)
    load_torchvision(grey, state)
    images = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(grey(images), rgb(images.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-4)


def test_the_sizes_are_torchvisions_without_the_classifier() -> None:
    assert sum(parameter.numel() for parameter in resnet18(3).parameters()) == 11_689_512 - 513_000
    assert sum(parameter.numel() for parameter in resnet50(3).parameters()) == 25_557_032 - 2_049_000


def test_a_file_of_another_depth_is_refused_naming_tensors() -> None:
    with pytest.raises(ValueError, match=r"does not fit.*layer1\.0\.bn3"):
        load_torchvision(resnet18(3), torchvision_like(50))
    state = torchvision_like(18)
    del state["layer4.1.bn2.bias"]
    with pytest.raises(ValueError, match=r"missing \['layer4\.1\.bn2\.bias'\]"):
        load_torchvision(resnet18(3), state)


def test_images_of_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[B, 1, H, W\], not \[2, 3, 32, 32\]"):
        resnet18(1)(torch.randn(2, 3, 32, 32))
