"""One vector an image from an output of any layout, against numpy and closed forms."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sweeper import models
from sweeper.cell import Network
from sweeper.models.trunk import Layout, Pool, Trunk, pooled

SWIN = pytest.param("swin_tiny_patch4_window7_224", marks=pytest.mark.slow)
EVERY_LAYOUT = ("cbr_mini", "test_vit", "test_vit2", "alexnet", "convnext_atto", SWIN)


def _pooled(output: Tensor, layout: Layout, pool: Pool = "mean", class_tokens: int = 0) -> np.ndarray:
    trunk = Trunk(backbone=nn.Identity(), width=5, layout=layout, pool=pool, class_tokens=class_tokens, inner="map")
    return pooled(output, trunk).numpy()


@pytest.mark.parametrize(
    ("layout", "shape", "axes"),
    [("map", (2, 5, 3, 4), (2, 3)), ("grid", (2, 3, 4, 5), (1, 2)), ("tokens", (2, 7, 5), (1,))],
)
def test_a_mean_is_taken_over_the_places_of_an_image(
    layout: Layout, shape: tuple[int, ...], axes: tuple[int, ...]
) -> None:
    output = torch.randn(shape)
    np.testing.assert_allclose(_pooled(output, layout), output.numpy().mean(axis=axes), rtol=1e-5, atol=1e-6)


def test_a_mean_over_tokens_leaves_out_class_tokens() -> None:
    output = torch.randn(2, 7, 5)
    expected = output.numpy()[:, 2:].mean(axis=1)
    np.testing.assert_allclose(_pooled(output, "tokens", class_tokens=2), expected, rtol=1e-5, atol=1e-6)


def test_the_first_token_is_the_class_token() -> None:
    output = torch.randn(2, 7, 5)
    np.testing.assert_array_equal(_pooled(output, "tokens", "first", class_tokens=5), output.numpy()[:, 0])


def test_class_and_distillation_token_count_alike() -> None:
    output = torch.randn(2, 7, 5)
    expected = (output.numpy()[:, 0] + output.numpy()[:, 1]) / 2
    np.testing.assert_allclose(_pooled(output, "tokens", "pair", class_tokens=2), expected, rtol=1e-6, atol=1e-7)


def test_a_vector_stays_as_it_is() -> None:
    output = torch.randn(2, 5)
    np.testing.assert_array_equal(_pooled(output, "vector"), output.numpy())


def test_a_map_inside_a_model_that_ends_in_a_vector_is_averaged() -> None:
    output = torch.randn(2, 5, 3, 4)
    expected = output.numpy().mean(axis=(2, 3))
    np.testing.assert_allclose(_pooled(output, "vector"), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", EVERY_LAYOUT)
def test_every_block_gives_one_vector_an_image(name: str) -> None:
    built, seen = models.build(Network(model=name), classes=2, size=64).eval(), []
    for block in models.blocks(built, "layer"):
        tap = built.get_submodule(block.tap)
        tap.register_forward_hook(lambda _module, _inputs, output: seen.append(models.pool(built, output)))
    with torch.no_grad():
        built(torch.zeros(3, 3, 64, 64))
    assert {(output.ndim, len(output)) for output in seen} == {(2, 3)}
    assert len(seen) == models.MODELS[name].blocks["layer"]


@pytest.mark.parametrize("name", EVERY_LAYOUT)
def test_the_last_blocks_vector_is_what_the_head_takes(name: str) -> None:
    built, seen = models.build(Network(model=name), classes=2, size=64).eval(), []
    tap = built.get_submodule(models.blocks(built, "layer")[-1].tap)
    tap.register_forward_hook(lambda _module, _inputs, output: seen.append(models.pool(built, output)))
    with torch.no_grad():
        assert torch.equal(built.features(torch.randn(3, 3, 64, 64)), seen[0])
