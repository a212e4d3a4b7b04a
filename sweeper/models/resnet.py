"""timm's ResNets: cut behind a stage or a residual block, and listed as blocks.

timm's object and its names are kept; only what lies behind the cut is taken out. No pretrained weights here.
"""

from typing import TYPE_CHECKING, cast

from torch import nn

from sweeper.cell import Network
from sweeper.models.block import Block
from sweeper.models.table import MODELS, Grain

if TYPE_CHECKING:
    from timm.models.resnet import ResNet

_STAGES = ("layer1", "layer2", "layer3", "layer4")
_STEM = ("backbone.conv1", "backbone.bn1")
_STEM_TAP = "backbone.maxpool"


def cut(network: Network, channels: int) -> tuple["ResNet", int]:
    """The backbone without what lies behind the cut, and the width of its output.

    The whole network is drawn before it is cut, so that with one seed a shallower cut starts as a deeper one does.
    Truncation is that of Peng et al. 2023: `layer` counts the stem and each residual block, `block` the four stages.
    """
    import timm  # takes seconds, which networks of other families do without

    backbone = cast("ResNet", timm.create_model(network.model, in_chans=channels, num_classes=0, global_pool=""))
    last = 0  # the stem
    for number, (stage, kept) in enumerate(zip(_STAGES, _kept_layers(network), strict=True), start=1):
        setattr(backbone, stage, nn.Sequential(*list(getattr(backbone, stage))[:kept]) if kept else nn.Identity())
        last = number if kept else last
    width = cast(int, backbone.feature_info[last]["num_chs"])
    backbone.num_features = width
    return backbone, width


def blocks(backbone: nn.Module, grain: Grain) -> list[Block]:
    """The blocks that were not cut away; at grain `block` the stem is part of the first stage."""
    layers = {stage: [name for name, _ in getattr(backbone, stage).named_children()] for stage in _STAGES}
    stem = Block(name="stem", modules=_STEM, tap=_STEM_TAP)
    if grain == "layer":
        names = [f"{stage}.{layer}" for stage in _STAGES for layer in layers[stage]]
        return [stem, *(_block(name) for name in names)]
    stages = [_block(stage) for stage in _STAGES if layers[stage]]
    if not stages:
        return [stem]
    first = Block(name=stages[0].name, modules=(*_STEM, *stages[0].modules), tap=stages[0].tap)
    return [first, *stages[1:]]


def _block(name: str) -> Block:
    return Block(name=name, modules=(f"backbone.{name}",), tap=f"backbone.{name}")


def _kept_layers(network: Network) -> list[int]:
    """How many residual blocks of each stage lie before the cut."""
    stages = MODELS[network.model].stages
    if network.depth is None:
        return list(stages)
    if network.grain == "block":
        return [layers if number <= network.depth else 0 for number, layers in enumerate(stages, start=1)]
    before = [1 + sum(stages[:number]) for number in range(len(stages))]
    return [min(max(network.depth - first, 0), layers) for first, layers in zip(before, stages, strict=True)]
