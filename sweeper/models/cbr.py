"""The CBR family of Raghu et al. 2019: blocks of convolution, batch norm, ReLU and mostly a max pool.

Pooling, the dropout that Peng et al. 2023 add behind it, and the head are the classifier's.
"""

from collections import OrderedDict

from torch import nn

from sweeper.cell import Network
from sweeper.models.block import Block
from sweeper.models.info import CbrShape, Grain
from sweeper.models.table import MODELS
from sweeper.models.trunk import Trunk


def cut(network: Network, channels: int, size: int) -> Trunk:
    """The first `depth` blocks, named `block1`, `block2`, ..."""
    shape = MODELS[network.model].shape
    assert shape is not None
    widths = _widths(shape, network.width)[: network.depth]
    made = OrderedDict()
    for number, (before, after) in enumerate(zip((channels, *widths), widths, strict=False), start=1):
        made[f"block{number}"] = _make_block(before, after, shape, pool=number <= shape.pools)
    return Trunk(backbone=nn.Sequential(made), width=widths[-1], layout="map")


def blocks(backbone: nn.Module, grain: Grain) -> list[Block]:
    """The blocks from the input on, the same at both grains."""
    names = [name for name, _ in backbone.named_children()]
    return [Block(name=name, modules=(f"backbone.{name}",), tap=f"backbone.{name}") for name in names]


def _widths(shape: CbrShape, first: int | None) -> tuple[int, ...]:
    """Output channels of each block where the first has so many; every later one is a multiple of it."""
    return tuple(each // shape.widths[0] * (first or shape.widths[0]) for each in shape.widths)


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
