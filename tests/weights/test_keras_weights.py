"""Keras's files: features of timm's networks against Keras's definitions on the same weights, by plain functions."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from keras_networks import Network as Keras
from keras_networks import densenet121, inception_v3, resnet50, write_file
from torch import Tensor

from sweeper import models, weights
from sweeper.cell import Images, Network, Weights
from sweeper.site import Site
from sweeper.weights.keras import read_keras
from sweeper.weights.table import KERAS_FILES

TOLERANCE = 1e-5


def _images(size: int) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(2)).double()


def _ours(model: str, net: Keras, site: Site, images: Tensor, *, depth: int | None = None) -> Tensor:
    """What timm's network, cut at a layer, makes of the images with a Keras file's weights, in double precision."""
    write_file(net, site.data / KERAS_FILES[model])
    built = models.build(Network(model=model, depth=depth, grain="layer"), classes=2, size=images.shape[-1])
    weights.pour(Weights(source="radimagenet_keras"), built, seed=0, site=site)
    with torch.no_grad():
        return built.backbone.eval().double()(images)


def _check_close(ours: Tensor, theirs: Tensor) -> None:
    """Equal up to the rounding of weights to float32, relative to the largest value."""
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() < TOLERANCE * theirs.abs().max()


def _made(network: Callable[..., Tensor], images: Tensor, **options: object) -> tuple[Keras, Tensor]:
    net = Keras()
    return net, network(net, images, **options)


def test_densenet121_has_keras_features(site: Site) -> None:
    images = _images(64)
    net, theirs = _made(densenet121, images)
    _check_close(_ours("densenet121", net, site, images), theirs)


def test_resnet50_has_keras_features_up_to_the_first_stride(site: Site) -> None:
    images = _images(64)
    net, _ = _made(resnet50, images)
    _check_close(_ours("resnet50", net, site, images, depth=4), resnet50(net, images, stages=1))


def test_resnet50_has_keras_features_with_the_stride_where_timm_has_it(site: Site) -> None:
    images = _images(64)
    net, theirs = _made(resnet50, images, stride_first=False)
    _check_close(_ours("resnet50", net, site, images), theirs)


def test_resnet50_has_other_features_behind_keras_own_strides(site: Site) -> None:
    images = _images(64)
    net, theirs = _made(resnet50, images)
    ours = _ours("resnet50", net, site, images)
    assert (ours - theirs).abs().max() > 0.01 * theirs.abs().max()


@pytest.mark.parametrize("first", [0, 1, 94])
def test_inception_has_keras_features_with_the_margin_that_timm_counts(first: int, site: Site) -> None:
    images = _images(107)
    net, theirs = _made(inception_v3, images, first=first, margin=True)
    _check_close(_ours("inception_v3", net, site, images), theirs)


def test_inception_has_keras_own_features_inside_the_margin(site: Site) -> None:
    images = _images(107)
    net, _ = _made(inception_v3, images)
    inside = slice(1, -1)
    theirs = inception_v3(net, images, modules=1)[:, :, inside, inside]
    _check_close(_ours("inception_v3", net, site, images, depth=6)[:, :, inside, inside], theirs)


def test_a_bias_and_an_epsilon_are_folded_into_the_statistics(tmp_path: Path) -> None:
    net, _ = _made(resnet50, _images(32), stages=1)
    write_file(net, tmp_path / "resnet.h5")
    state, bias = read_keras(tmp_path / "resnet.h5", "resnet50"), net.layers["conv2_block1_0_conv"]["bias"]
    norm = net.layers["conv2_block1_0_bn"]
    mean, variance = (state[f"layer1.0.downsample.1.running_{name}"].numpy() for name in ("mean", "var"))
    np.testing.assert_allclose(mean, norm["moving_mean"].astype(np.float64) - bias, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(variance, norm["moving_variance"].astype(np.float64) + 1e-8, rtol=1e-7)
    assert not any(name.endswith("conv1.bias") for name in state)


def test_keras_weights_expect_blue_first_and_no_scale(site: Site) -> None:
    pixels = weights.pixels_of(Images(dataset="digits"), "radimagenet_keras", "resnet50", site)
    assert pixels == weights.PIXELS["caffe_scaled"]
    assert pixels.order == "bgr"


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    net, _ = _made(resnet50, _images(32), stages=1)
    write_file(net, tmp_path / "resnet.h5")
    with pytest.raises(ValueError, match="no Keras file of 'densenet121' without its head: 'conv2_block1_0_conv'"):
        read_keras(tmp_path / "resnet.h5", "densenet121")


def test_a_file_with_a_head_is_refused(tmp_path: Path) -> None:
    net, _ = _made(resnet50, _images(32), stages=1)
    net.layers["predictions"] = {"kernel": np.zeros((1, 1, 4, 2), dtype=np.float32)}
    write_file(net, tmp_path / "resnet.h5")
    with pytest.raises(ValueError, match="'predictions' is no layer of it"):
        read_keras(tmp_path / "resnet.h5", "resnet50")


def test_a_file_with_too_few_layers_is_refused(site: Site) -> None:
    images = _images(107)
    net, _ = _made(inception_v3, images, modules=3)
    with pytest.raises(
        ValueError, match="no Keras file of 'inception_v3' without its head: 'conv2d' is no layer of it"
    ):
        _ours("inception_v3", net, site, images)


def test_a_file_that_lacks_layers_is_refused(site: Site) -> None:
    images = _images(64)
    net, _ = _made(resnet50, images, stages=3)
    with pytest.raises(ValueError, match=r"of the tensors asked of it \d+ of \d+ are missing \(layer4"):
        _ours("resnet50", net, site, images)


def test_a_file_that_is_no_hdf5_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.h5").write_bytes(b"not weights")
    with pytest.raises(ValueError, match=r"weights\.h5 cannot be read as a file of Keras weights"):
        read_keras(tmp_path / "weights.h5", "resnet50")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    net, _ = _made(resnet50, _images(32), stages=1)
    write_file(net, tmp_path / "weights.h5")
    whole = (tmp_path / "weights.h5").read_bytes()
    (tmp_path / "weights.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"weights\.h5 cannot be read as a file of Keras weights"):
        read_keras(tmp_path / "weights.h5", "resnet50")


def test_an_hdf5_file_without_layers_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file.create_group("model_weights")
    with pytest.raises(ValueError, match="no file of Keras weights: it has no attribute 'layer_names'"):
        read_keras(tmp_path / "weights.h5", "resnet50")
