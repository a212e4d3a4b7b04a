"""Models by name, cut at a depth, with one ordered list of blocks that everything else counts in.

The table is plain values; torch and timm are imported when a model is built. `sweeper.weights` pours weights in.
"""

from typing import TYPE_CHECKING

from sweeper.cell import Network
from sweeper.models.table import MODELS, CbrShape, Grain, ModelInfo, base_name, problem

if TYPE_CHECKING:
    from sweeper.models.classifier import Block, Classifier

__all__ = [
    "MODELS",
    "CbrShape",
    "Grain",
    "ModelInfo",
    "base_name",
    "block_keys",
    "blocks",
    "build",
    "problem",
    "weight_keys",
]


def build(network: Network, *, classes: int, channels: int = 3) -> "Classifier":
    """The model with its own random start, drawn from torch's global generator, which the caller seeds.

    Args:
        classes: number of logits, >= 1.
        channels: channels of the images, >= 1.

    Raises:
        ValueError: when the model is unknown, or cannot be cut at this depth.
    """
    from sweeper.models import classifier

    return classifier.build(network, classes=classes, channels=channels)


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
