"""How images are turned into a network's input: mean, sd and order of the channels, and the named ways of doing it.

It imports no torch and reads nothing; `sources.py` says which of them a source's weights were trained with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Three = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """A network's input is (pixel - mean) / std per channel, where a pixel is 0 to 1."""

    mean: Three
    """In the order that the network sees."""
    std: Three
    """Likewise."""
    order: Literal["rgb", "bgr"] = "rgb"
    """The channels as the network sees them; images are stored as rgb."""


HALF = Pixels(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
_CAFFE_MEAN = (103.939 / 255, 116.779 / 255, 123.68 / 255)

PIXELS: Mapping[str, Pixels | None] = MappingProxyType(
    {
        # from -1 to 1: the RadImageNet authors' PyTorch weights, and whatever was not trained otherwise
        "half": HALF,
        # torchvision's and most of timm's weights
        "imagenet": Pixels(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        # Keras's `preprocess_input`: blue first, 0 to 255, the mean of ImageNet taken off
        "caffe": Pixels(mean=_CAFFE_MEAN, std=(1 / 255, 1 / 255, 1 / 255), order="bgr"),
        # ... followed by `rescale=1/255`, which Keras's generator applies after it
        "caffe_scaled": Pixels(mean=_CAFFE_MEAN, std=(1.0, 1.0, 1.0), order="bgr"),
        # mean and sd of the images themselves, over the whole training part of the cell's fold: measured, hence None
        "dataset": None,
    }
)
"""Name -> how pixels are normalised; None where the images decide."""
