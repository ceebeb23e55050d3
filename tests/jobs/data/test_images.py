import io

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from jobs.data.draws import sample_generator
from jobs.data.images import augment_images, decode, side


def picture(seed: int, size: int, mode: str = "RGBA") -> bytes:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, len(mode)), dtype=np.uint8), mode if mode != "L" else "RGB")
    buffer = io.BytesIO()
    coarse.resize((size, size)).save(buffer, format="PNG")
    return buffer.getvalue()


def generators(count: int) -> list[np.random.Generator]:
    return [sample_generator(1, 0, f"shape {number}", "image") for number in range(count)]


def luma(image: NDArray[np.float64]) -> NDArray[np.float64]:
    return image @ np.array([0.299, 0.587, 0.114])


def one_by_one(png: bytes, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """torchvision's ColorJitter arithmetic, flips and normalisation in float64, from the same draws; no resize."""
    image = np.asarray(Image.open(io.BytesIO(png)))[..., :3] / 255.0
    grey = luma(image)
    factors, (flip, grey_flip) = np.split(rng.random(5, dtype=np.float32), [3])
    brightness, contrast, saturation = 0.6 + 0.8 * factors
    for which in rng.permutation(3):
        if which == 0:
            image = image * brightness
        elif which == 1:
            image = contrast * image + (1 - contrast) * luma(image).mean()
        else:
            image = saturation * image + (1 - saturation) * luma(image)[..., None]
        image = image.clip(0, 1)
    image = image[:, ::-1] if flip < 0.5 else image
    grey = grey[:, ::-1] if grey_flip < 0.5 else grey
    return (image - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225], (grey - 0.485) / 0.229


def test_both_branches_equal_the_published_transforms_one_by_one() -> None:
    files = [picture(number, 32) for number in range(12)]
    rgb, grey = augment_images(files, generators(12), 32, grey=True)
    assert grey is not None and rgb.shape == (12, 3, 32, 32) and grey.shape == (12, 1, 32, 32)
    for row, (file, rng) in enumerate(zip(files, generators(12), strict=True)):
        expected_rgb, expected_grey = one_by_one(file, rng)
        np.testing.assert_allclose(rgb[row].numpy().transpose(1, 2, 0), expected_rgb, atol=1e-5)
        np.testing.assert_allclose(grey[row, 0].numpy(), expected_grey, atol=1e-5)


def test_rgb_is_the_same_whether_grey_is_asked_for_or_not() -> None:
    files = [picture(number, 32) for number in range(3)]
    assert torch.equal(augment_images(files, generators(3), 32, grey=True)[0], augment_images(files, generators(3), 32, grey=False)[0])
    assert augment_images(files, generators(3), 32, grey=False)[1] is None


def test_a_row_does_not_depend_on_the_rows_beside_it_even_when_sizes_differ() -> None:
    files = [picture(number, 40 if number % 2 else 64) for number in range(6)]
    together, _ = augment_images(files, generators(6), 48, grey=False)
    apart = torch.cat([augment_images([file], [rng], 48, grey=False)[0] for file, rng in zip(files, generators(6), strict=True)])
    np.testing.assert_allclose(together.numpy(), apart.numpy(), atol=1e-6)


@pytest.mark.parametrize(("stored", "size"), [(137, 64), (64, 224)])
def test_the_resize_agrees_with_pils_bilinear_filter(stored: int, size: int) -> None:
    file = picture(0, stored)
    _, grey = augment_images([file], generators(1), size, grey=True)
    expected = luma(np.asarray(Image.open(io.BytesIO(file)).convert("RGB").resize((size, size), Image.Resampling.BILINEAR)) / 255.0)
    assert grey is not None
    seen = grey[0, 0].numpy() * 0.229 + 0.485
    flipped = generators(1)[0].random(5, dtype=np.float32)[4] < 0.5
    np.testing.assert_allclose(seen[:, ::-1] if flipped else seen, expected, atol=0.01)  # PIL rounds to 8 bits


def test_the_global_generator_is_not_touched() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    augment_images([picture(0, 32)], generators(1), 32, grey=True)
    assert torch.equal(before, torch.get_rng_state())


def test_alpha_is_dropped_not_blended() -> None:
    pixels = np.full((16, 16, 4), (10, 20, 30, 0), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    assert np.array_equal(decode(buffer.getvalue()), pixels[..., :3])


@pytest.mark.parametrize(
    "damage", [lambda png: b"", lambda png: png[: len(png) // 2], lambda png: b"no image at all", lambda png: png[:60] + b"\0" * 99]
)
def test_a_broken_png_is_a_value_error_that_names_the_way_out(damage) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"does not decode as an image .*data verify"):
        decode(damage(picture(0, 64)))


def test_the_side_is_read_from_the_header() -> None:
    assert side(picture(0, 137)[:100]) == 137


def test_grey_of_16_bits_becomes_8_bits_and_not_white() -> None:
    deep = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    buffer = io.BytesIO()
    Image.fromarray(deep).save(buffer, format="PNG")
    assert np.array_equal(decode(buffer.getvalue()), np.repeat(np.arange(256).reshape(16, 16, 1), 3, 2))
