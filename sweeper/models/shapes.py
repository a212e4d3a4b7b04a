"""How a timm model's outputs are laid out and pooled, found from the numbers of one forward pass.

Only `generic.py` needs it: the families of this project know their layouts.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from sweeper.models.trunk import Layout, Pool, Trunk, pooled


def find_pooling(backbone: Any, image: Tensor) -> tuple[Layout, Pool, int]:
    """Layout, pooling and width of the whole model's output: those that give its own features before the classifier.

    Where none of ours does, the model pools itself: `vector`, with the pooling that its cuts should have.

    Raises:
        ValueError: the model gives no vector.
    """
    with torch.no_grad():
        output, features = backbone.forward_features(image), backbone(image)
    if not (isinstance(features, Tensor) and features.ndim == 2):
        raise ValueError("it gives no vector for an image")
    if not features.isfinite().all():
        raise ValueError("its features overflow with random weights")
    prefix, width = getattr(backbone, "num_prefix_tokens", 0), features.shape[1]
    for layout, pool in _candidates(output):
        trunk = Trunk(backbone=backbone, width=width, layout=layout, pool=pool, class_tokens=prefix)
        found = pooled(output, trunk)
        if found.shape == features.shape and torch.allclose(found, features, rtol=1e-4, atol=1e-5):
            return layout, pool, width
    return "vector", "first" if getattr(backbone, "global_pool", "") == "token" else "mean", width


def find_inner(shapes: Sequence[tuple[int, ...] | None], output_fmt: str, *, same_tokens: bool) -> Layout:
    """The one layout that all outputs with more than two dimensions have, those of a square image.

    Args:
        output_fmt: timm's word for the order of dimensions, which decides where the shapes leave it open.
        same_tokens: whether pooling tells tokens apart, so that all outputs must have as many.

    Raises:
        ValueError: they have none in common.
    """
    spatial = [shape for shape in shapes if shape is None or len(shape) > 2]
    found: set[Layout] = {"map", "grid", "tokens"} if spatial else {"vector"}
    for shape in spatial:
        found &= set(_layouts(shape))
    if not found:
        raise ValueError("the outputs of its depth groups are laid out in different ways")
    if "tokens" in found and same_tokens and len({shape[1] for shape in spatial if shape}) > 1:
        raise ValueError("some of its depth groups have class tokens and others have none")
    if len(found) > 1:
        return "grid" if str(output_fmt).endswith("NHWC") else "map"
    return found.pop()


def _candidates(output: Tensor | object) -> Iterator[tuple[Layout, Pool]]:
    if isinstance(output, Tensor) and output.ndim == 4:
        yield "map", "mean"
        yield "grid", "mean"
    if isinstance(output, Tensor) and output.ndim == 3:
        yield "tokens", "mean"
        yield "tokens", "first"
        yield "tokens", "pair"


def _layouts(shape: tuple[int, ...] | None) -> Iterator[Layout]:
    if shape and len(shape) == 3:
        yield "tokens"
    if shape and len(shape) == 4 and shape[2] == shape[3]:
        yield "map"
    if shape and len(shape) == 4 and shape[1] == shape[2]:
        yield "grid"
