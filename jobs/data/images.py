"""The published image branches: decode, resize, colour jitter, flip, normalise.

Parameters are drawn a sample, never from the global generator. B images of H x W pixels, S pixels a side after the resize.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from kornia.color import rgb_to_grayscale
from kornia.enhance import (
    adjust_brightness_accumulative,
    adjust_contrast_with_mean_subtraction,
    adjust_saturation_with_gray_subtraction,
)
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

MEAN = (0.485, 0.456, 0.406)  # ImageNet's; the first of each serves grey
DEVIATION = (0.229, 0.224, 0.225)
DEEP = frozenset({"I", "F"})  # grey of 16 bits a pixel, as PIL opens it
STRENGTH = 0.4  # brightness, contrast and saturation factors are U(1 - 0.4, 1 + 0.4)
ADJUST = (adjust_brightness_accumulative, adjust_contrast_with_mean_subtraction, adjust_saturation_with_gray_subtraction)


def decode(png: bytes) -> NDArray[np.uint8]:
    """A view as RGB [H, W, 3]; alpha is dropped, as the published code does, not blended; 16 bits become 8.

    ValueError when it does not decode.
    """
    try:
        with Image.open(io.BytesIO(png)) as image:
            if image.mode in DEEP or image.mode.startswith("I;16"):  # PIL would clip to white what is above 255
                grey = np.clip(np.rint(np.asarray(image, np.float64) / 257), 0, 255).astype(np.uint8)
                return np.repeat(grey[..., None], 3, 2)
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"a view of {len(png)} bytes does not decode as an image ({error}): run `adacrossnet data verify` on the dataset"
        ) from None


def side(png: bytes) -> int:
    """Pixels of a view's longer side, from its header alone."""
    with Image.open(io.BytesIO(png)) as image:
        return max(image.size)


def augment_images(
    files: Sequence[bytes], generators: Sequence[np.random.Generator], size: int, grey: bool
) -> tuple[Tensor, Tensor | None]:
    """B encoded views and B generators give rgb float32 [B, 3, S, S] and, where `grey`, [B, 1, S, S]; S = `size` pixels.

    RGB: resize, brightness, contrast and saturation 0.4 in a random order a sample, flip. Grey: luma, resize, a flip of its own, no jitter.
    """
    numbers = np.stack([generator.random(5, dtype=np.float32) for generator in generators])  # three factors, two flips
    orders = np.stack([generator.permutation(3) for generator in generators])
    plain = _resized([decode(png) for png in files], size)
    rgb = _jittered(plain, torch.from_numpy(1 + STRENGTH * (2 * numbers[:, :3] - 1)), orders)
    rgb = _flipped(rgb, numbers[:, 3] < 0.5)
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
    grey_B1HW = (_flipped(rgb_to_grayscale(plain), numbers[:, 4] < 0.5) - MEAN[0]) / DEVIATION[0] if grey else None
    return (rgb - mean) / deviation, grey_B1HW


def _resized(images: list[NDArray[np.uint8]], size: int) -> Tensor:
    """Images [H, W, 3] as float [B, 3, S, S] in [0, 1], bilinear with antialiasing, as torchvision's Resize."""
    if len({image.shape for image in images}) > 1:
        return torch.cat([_resized([image], size) for image in images])
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous().float() / 255
    if batch.shape[2:] == (size, size):
        return batch
    return functional.interpolate(batch, (size, size), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


def _jittered(images: Tensor, factors_B3: Tensor, orders_B3: NDArray[np.int64]) -> Tensor:
    """Each image's three adjustments in its own order: at each of three places, one call for all images whose turn it is."""
    for place in range(3):
        result = torch.empty_like(images)
        for which, adjust in enumerate(ADJUST):
            rows = torch.from_numpy(np.flatnonzero(orders_B3[:, place] == which))
            if len(rows):
                result[rows] = adjust(images[rows], factors_B3[rows, which])
        images = result
    return images


def _flipped(images: Tensor, flips_B: NDArray[np.bool_]) -> Tensor:
    return torch.where(torch.from_numpy(flips_B)[:, None, None, None], images.flip(-1), images)
