"""Features of images as samples for a similarity: rows that are centred, and convolutional maps made into rows.

No similarity is computed here, and nothing is sampled: which images and positions count is the caller's to say.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

Features = npt.NDArray[np.floating] | torch.Tensor
How = Literal["positions", "pooled", "resized"]


def centred(layer: Features) -> torch.Tensor:
    """The features with each one's mean over the samples taken out, (samples, features), float64.

    The first sample is taken out before the mean is: a feature that never changes becomes an exact zero, which the
    rounding of a mean would leave as noise that looks like a feature.

    Raises:
        ValueError: not (samples, features), one of them none, or a feature that is not finite.
    """
    features = torch.as_tensor(layer).detach()
    if features.ndim != 2 or not features.numel():
        raise ValueError(
            f"features have shape {tuple(features.shape)}, a similarity needs (images, features): flatten(1) them"
            " or see `as_samples`"
        )
    features = features.double()
    features = features - features[0]
    features -= features.mean(dim=0)
    if not torch.isfinite(features.sum()):
        raise ValueError("the features hold values that are not finite; look for a run that diverged")
    return features


def as_samples(x: Features, y: Features, *, how: How) -> tuple[torch.Tensor, torch.Tensor]:
    """Two layers' maps of the same images as rows, (samples, channels) each, the same samples in the same order.

    The treatments of google/svcca's tutorial on convolutional layers:

    `positions`: every position of every image is a sample; both maps have the same height and width.
    `pooled`: every image is a sample, the mean over its positions.
    `resized`: both maps are interpolated bilinearly (pixel centres, as `align_corners=False`) to the larger height and
        the larger width of the two, then taken by positions.

    Args:
        x: (images, channels, height, width), numpy or torch.
        y: (images, other channels, height, width).

    Raises:
        ValueError: not such maps, different images, or `positions` of maps of different sizes.
    """
    left, right = _maps(x), _maps(y)
    if len(left) != len(right):
        raise ValueError(f"the maps are of {len(left)} and {len(right)} images; a similarity needs the same images")
    match how:
        case "pooled":
            return left.double().mean(dim=(2, 3)), right.double().mean(dim=(2, 3))
        case "resized":
            height, width = (max(left.shape[axis], right.shape[axis]) for axis in (2, 3))
            return positions(resized(left, height, width)), positions(resized(right, height, width))
        case "positions":
            if left.shape[2:] != right.shape[2:]:
                sizes = f"{tuple(left.shape[2:])} and {tuple(right.shape[2:])}"
                raise ValueError(f"the maps are of sizes {sizes}, their positions do not match; take how='resized'")
            return positions(left), positions(right)


def positions(maps: Features) -> torch.Tensor:
    """Every position of every image as a sample, (images * height * width, channels), in the order of the maps."""
    return _maps(maps).permute(0, 2, 3, 1).flatten(0, 2)


def resized(maps: Features, height: int, width: int) -> torch.Tensor:
    """The maps interpolated bilinearly, (images, channels, height, width), float64; of their own size, unchanged."""
    return functional.interpolate(_maps(maps).double(), size=(height, width), mode="bilinear", align_corners=False)


def _maps(maps: Features) -> torch.Tensor:
    tensor = torch.as_tensor(maps).detach()
    if tensor.ndim != 4 or not tensor.numel():
        raise ValueError(f"the maps have shape {tuple(tensor.shape)}, not (images, channels, height, width)")
    return tensor
