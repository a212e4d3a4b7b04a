"""torchvision's AlexNet (Krizhevsky 2014): five convolutions, then two linear layers, each a block at both grains.

timm has no AlexNet. The third linear layer is the classifier's head. No pretrained weights here.
"""

from collections import OrderedDict

from torch import nn

from sweeper.cell import Network
from sweeper.models.block import Block
from sweeper.models.info import Grain
from sweeper.models.trunk import Trunk

_CONVOLUTIONS = ((0, 3), (3, 6), (6, 8), (8, 10), (10, 13))
"""First module of `features` and the one behind the last: a convolution, its ReLU and, of three, a max pool."""
_LINEAR = ((0, 3), (3, 6))
"""The same of `classifier`: a dropout, a linear layer and its ReLU."""
_WIDTHS = (64, 192, 384, 256, 256, 4096, 4096)


def cut(network: Network, channels: int, size: int) -> Trunk:
    """The backbone without what lies behind the cut, which is drawn first, so that all cuts of one seed start alike."""
    from torchvision.models import alexnet  # takes seconds, which networks of other families do without

    whole, depth = alexnet(), network.depth or len(_WIDTHS)
    if channels != 3:
        whole.features[0] = nn.Conv2d(channels, 64, kernel_size=11, stride=4, padding=2)
    convolutions, linear = min(depth, 5), max(depth - 5, 0)
    parts: list[tuple[str, nn.Module]] = [("features", whole.features[: _CONVOLUTIONS[convolutions - 1][1]])]
    if linear:
        behind = whole.classifier[: _LINEAR[linear - 1][1]]
        parts += [("avgpool", whole.avgpool), ("flatten", nn.Flatten()), ("classifier", behind)]
    layout = "vector" if linear else "map"
    return Trunk(backbone=nn.Sequential(OrderedDict(parts)), width=_WIDTHS[depth - 1], layout=layout)


def blocks(backbone: nn.Module, grain: Grain) -> list[Block]:
    """The blocks that were not cut away, the same at both grains: `conv1` to `conv5`, `linear1` and `linear2`."""
    there = dict(backbone.named_modules())
    convolutions = [_block(f"conv{number}", "features", *each) for number, each in enumerate(_CONVOLUTIONS, start=1)]
    linear = [_block(f"linear{number}", "classifier", *each) for number, each in enumerate(_LINEAR, start=1)]
    return [block for block in (*convolutions, *linear) if block.tap.removeprefix("backbone.") in there]


def _block(name: str, part: str, first: int, behind: int) -> Block:
    modules = tuple(f"backbone.{part}.{number}" for number in range(first, behind))
    return Block(name=name, modules=modules, tap=modules[-1])
