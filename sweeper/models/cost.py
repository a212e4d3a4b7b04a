"""What a network costs, whatever device runs it: parameters and multiply-accumulates.

It measures no time and no memory.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sweeper.cell import Network
from sweeper.models.classifier import build


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Counts of one network."""

    backbone_parameters: int
    """Numbers that training may change, without the head."""
    parameters: int
    """The same with the head."""
    macs: int
    """Multiply-accumulates of convolutions, linear layers and attention's products, head included, for one image."""


def count(network: Network, *, classes: int, size: int = 224) -> Cost:
    """What a network of so many classes costs on one image of `size` x `size` pixels, found on shapes alone.

    Raises:
        ValueError: when the model is unknown, cannot be cut at this depth, or cannot take such images.
    """
    with torch.device("meta"):
        model = build(network, classes=classes, size=size).eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, size, size))
    return Cost(
        backbone_parameters=_count(model.backbone), parameters=_count(model), macs=counter.get_total_flops() // 2
    )


def _count(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())
