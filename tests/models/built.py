"""Models for the tests of this folder: on shapes alone, or with values that tell every tensor."""

from functools import cache

import pytest
import torch
from torch import nn

from sweeper import models
from sweeper.cell import Network
from sweeper.models import MODELS, Grain
from sweeper.models.classifier import Classifier

GRAINS: tuple[Grain, ...] = ("block", "layer")
OFTEN = (
    *("resnet10t", "resnet18", "resnet50", "densenet121", "inception_v3", "efficientnet_b0", "alexnet"),
    *("vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "cbr_larget", "cbr_mini"),
)
"""At least one member of each family and one for each way of building it; the others differ in counts and widths."""
EVERY = [pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow) for name in MODELS]


def build_meta(model: str, depth: int | None = None, grain: Grain = "block") -> Classifier:
    """On shapes alone, for images of 224 pixels."""
    with torch.device("meta"):
        return models.build(Network(model=model, depth=depth, grain=grain), classes=2).eval()


whole_meta = cache(build_meta)


def small_size(name: str) -> int:
    """Pixels of a small image that the whole model takes."""
    info = MODELS[name]
    return max(32, info.smallest(None, "block") + -info.smallest(None, "block") % info.multiple)


def count_parameters(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())
