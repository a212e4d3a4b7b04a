"""How images become a network's input: against Keras's and torchvision's words, and numpy's mean and sd."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor

from sweeper import weights
from sweeper.cell import Images
from sweeper.data.loading import load, normalise
from sweeper.site import Site
from sweeper.weights import PIXELS, Pixels
from sweeper.weights.measuring import measure


def _images() -> Tensor:
    """uint8 (3, 3, 8, 8), red first, in memory as the loader's."""
    values = torch.randint(256, (3, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return values.movedim(-1, 1)


def _seen(name: str) -> Tensor:
    pixels = PIXELS[name]
    assert pixels
    return normalise(_images(), pixels.mean, pixels.std, pixels.order)


def test_caffe_is_keras_preprocess_input() -> None:
    red, green, blue = _images().float().unbind(1)
    expected = torch.stack([blue - 103.939, green - 116.779, red - 123.68], dim=1)
    torch.testing.assert_close(_seen("caffe"), expected, rtol=1e-6, atol=1e-4)


def test_caffe_scaled_is_the_same_divided_by_255() -> None:
    torch.testing.assert_close(_seen("caffe_scaled"), _seen("caffe") / 255, rtol=1e-5, atol=1e-6)


def test_imagenet_is_torchvisions() -> None:
    preset = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.transforms()
    expected = torchvision.transforms.functional.normalize(_images() / 255, preset.mean, preset.std)
    torch.testing.assert_close(_seen("imagenet"), expected)


def test_half_goes_from_minus_one_to_one() -> None:
    expected = (_images().double() - 127.5) * 2 / 255  # as the RadImageNet authors write
    torch.testing.assert_close(_seen("half").double(), expected, rtol=0, atol=1e-6)


def test_the_order_of_channels_costs_no_change_of_layout() -> None:
    assert _seen("caffe").is_contiguous(memory_format=torch.channels_last)


def test_red_first_is_untouched_by_the_order() -> None:
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    assert torch.equal(normalise(_images(), mean, std), normalise(_images(), mean, std, "rgb"))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("digits")
    return Site(data=folder, cache=folder / "cache", storage=folder, tracking="")


def _train(site: Site, fold: int) -> np.ndarray:
    part = load(Images(dataset="digits", fold=fold, size=8), site).train
    return part.tensor(np.arange(len(part))).numpy() / 255  # (images, 3, 8, 8)


@pytest.mark.parametrize("fold", [1, 2])
def test_dataset_pixels_have_the_moments_of_the_folds_training_part(fold: int, digits: Site) -> None:
    pixels, train = measure("digits", fold, 8, digits), _train(digits, fold)
    np.testing.assert_allclose(pixels.mean, train.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(pixels.std, train.std(axis=(0, 2, 3)), rtol=1e-12)


def test_dataset_pixels_are_the_whole_training_parts_for_every_share_of_it(digits: Site) -> None:
    few = Images(dataset="digits", fold=1, size=8, fraction=0.1, pixels="dataset")
    assert weights.pixels_of(few, "random", "cbr_mini", digits) == measure("digits", 1, 8, digits)


def test_dataset_pixels_give_training_images_of_mean_zero_and_sd_one(digits: Site) -> None:
    pixels = measure("digits", 1, 8, digits)
    part = load(Images(dataset="digits", fold=1, size=8), digits).train
    seen = normalise(part.tensor(np.arange(len(part))), pixels.mean, pixels.std)
    assert seen.mean().item() == pytest.approx(0, abs=1e-5)
    assert seen.std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_measured_pixels_are_found_again_in_the_cache(digits: Site) -> None:
    measure("digits", 1, 8, digits)
    measure.cache_clear()
    (kept,) = digits.cache.glob("pixels-*-8-fold1.json")
    kept.write_text(json.dumps({"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}))
    assert measure("digits", 1, 8, digits) == Pixels(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    kept.unlink()
    measure.cache_clear()


def test_an_even_channel_cannot_be_scaled(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / "flat" / name).mkdir(parents=True)
        for number in range(20):
            Image.new("RGB", (8, 8), (number, 2 * number, 7)).save(tmp_path / "flat" / name / f"{number:02}.png")
    site = Site(data=tmp_path, cache=tmp_path / "cache", storage=tmp_path, tracking="")
    with pytest.raises(ValueError, match=r"pixels 'dataset': a channel of the training images of .* everywhere"):
        measure(f"folder:{tmp_path}/flat", 1, 8, site)


def test_an_unknown_way_is_answered_with_the_nearest(site: Site) -> None:
    with pytest.raises(ValueError, match="pixels 'cafe' is unknown; did you mean caffe"):
        weights.pixels_of(Images(dataset="digits", pixels="cafe"), "random", "cbr_mini", site)
