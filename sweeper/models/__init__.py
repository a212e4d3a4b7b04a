"""Models by name, cut at a depth, with one ordered list of blocks that everything else counts in.

The table is plain values; torch and timm are imported when a model is built. `sweeper.weights` pours weights in.
"""

from typing import TYPE_CHECKING

from sweeper.cell import Network
from sweeper.models.info import CbrShape, Family, Grain, ModelInfo
from sweeper.models.judging import problem
from sweeper.models.table import MODELS, base_name, family_of

if TYPE_CHECKING:
    from torch import Tensor

    from sweeper.models.block import Block
    from sweeper.models.classifier import Classifier
    from sweeper.models.cost import Cost

__all__ = [
    "MODELS",
    "CbrShape",
    "Family",
    "Grain",
    "ModelInfo",
    "base_name",
    "block_keys",
    "blocks",
    "build",
    "class_token",
    "count",
    "family_of",
    "first_weight",
    "pool",
    "problem",
    "share_norms",
    "spread",
    "weight_keys",
]


def build(network: Network, *, classes: int, channels: int = 3, size: int = 224) -> "Classifier":
    """The model with its own random start, drawn from torch's global generator, which the caller seeds.

    Args:
        classes: number of logits, >= 1.
        channels: channels of the images, >= 1; with `network.input` other than `rgb` the model looks at the first.
        size: height and width of the images in pixels, which position tables and flattened heads depend on.

    Raises:
        ValueError: when the model is unknown, cannot be cut at this depth, or cannot take such images.
    """
    from sweeper.models import classifier

    return classifier.build(network, classes=classes, channels=channels, size=size)


def count(network: Network, *, classes: int, size: int = 224) -> "Cost":
    """The model's parameters and multiply-accumulates, found on shapes alone."""
    from sweeper.models import cost

    return cost.count(network, classes=classes, size=size)


def blocks(model: "Classifier", grain: Grain) -> "list[Block]":
    """The model's blocks from the input on; every backbone tensor belongs to exactly one of them."""
    from sweeper.models import classifier

    return classifier.blocks(model, grain)


def block_keys(model: "Classifier", block: "Block") -> list[str]:
    """The names in `model.state_dict()` of a block's parameters and buffers."""
    from sweeper.models import classifier

    return classifier.block_keys(model, block)


def weight_keys(model: "Classifier", grain: Grain) -> dict[str, list[str]]:
    """Per block, the names in `model.state_dict()` of its weights and biases, those of norm layers left out."""
    from sweeper.models import classifier

    return classifier.weight_keys(model, grain)


def first_weight(model: "Classifier") -> str:
    """The name in `model.state_dict()` of the first convolution's weight, that of a patch embedding included."""
    from sweeper.models import classifier

    return classifier.first_weight(model)


def pool(model: "Classifier", output: "Tensor") -> "Tensor":
    """One vector an image, (images, features), of a block's output: pooled as the model pools its last one."""
    from sweeper.models import trunk

    return trunk.pooled(output, model.trunk)


def class_token(model: "Classifier", output: "Tensor") -> "Tensor":
    """The class token of a block's output, (images, features); an error where the model has none."""
    from sweeper.models import trunk

    return trunk.class_token(output, model.trunk)


def spread(model: "Classifier", output: "Tensor") -> "Tensor":
    """A block's output at every place of the image, (images, places, features), class tokens left out."""
    from sweeper.models import trunk

    return trunk.spread(output, model.trunk)


def share_norms(model: "Classifier") -> "Classifier":
    """The model, its batch norms replaced in place by ones that take their statistics over all devices."""
    from sweeper.models import classifier

    return classifier.share_norms(model)
