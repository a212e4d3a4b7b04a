"""The CBR family of Raghu et al. 2019: blocks of convolution, batch norm, ReLU and mostly a max pool.

The mean over the image plane and the head are the classifier's. No dropout, which Peng et al. 2023 add before the head.
"""

from collections import OrderedDict

from torch import nn

from sweeper.cell import Network
from sweeper.models.block import Block
from sweeper.models.table import CbrShape


def cut(network: Network, shape: CbrShape, channels: int) -> tuple[nn.Sequential, int]:
    """The first `depth` blocks, named `block1`, `block2`, ..., and the width of their output."""
    widths = shape.widths[: network.depth]
    made = OrderedDict()
    for number, (before, after) in enumerate(zip((channels, *widths), widths, strict=False), start=1):
        made[f"block{number}"] = _make_block(before, after, shape, pool=number <= shape.pools)
    return nn.Sequential(made), widths[-1]


def blocks(backbone: nn.Module) -> list[Block]:
    """The blocks from the input on, the same at both grains."""
    names = [name for name, _ in backbone.named_children()]
    return [Block(name=name, modules=(f"backbone.{name}",), tap=f"backbone.{name}") for name in names]


def _make_block(before: int, after: int, shape: CbrShape, pool: bool) -> nn.Sequential:
    # The convolution has a bias although batch norm follows: only so do the published parameter counts come out.
    parts: list[tuple[str, nn.Module]] = [
        ("conv", nn.Conv2d(before, after, shape.kernel, padding=shape.padding)),
        ("bn", nn.BatchNorm2d(after)),
        ("relu", nn.ReLU(inplace=True)),
    ]
    if pool:
        parts.append(("pool", nn.MaxPool2d(3, stride=2, padding=shape.padding)))
    return nn.Sequential(OrderedDict(parts))
