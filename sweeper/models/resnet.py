"""timm's ResNets: cut behind a stage or a residual block, slimmed on request, and listed as blocks.

timm's object and its names are kept; only what lies behind the cut is taken out. No pretrained weights here.
"""

from typing import TYPE_CHECKING, cast

from torch import nn

from sweeper.cell import Network
from sweeper.models import slim
from sweeper.models.block import Block
from sweeper.models.info import Grain
from sweeper.models.table import MODELS
from sweeper.models.trunk import Trunk

if TYPE_CHECKING:
    from timm.models.resnet import ResNet

_STAGES = ("layer1", "layer2", "layer3", "layer4")
_STEM = ("backbone.conv1", "backbone.bn1")
_STEM_TAP = "backbone.maxpool"


def cut(network: Network, channels: int, size: int) -> Trunk:
    """The backbone without what lies behind the cut.

    The whole network is drawn before it is cut, so that with one seed a shallower cut starts as a deeper one does.
    Truncation is that of Peng et al. 2023: `layer` counts the stem and each residual block, `block` the four stages.
    """
    import timm  # takes seconds, which networks of other families do without

    backbone = cast("ResNet", timm.create_model(network.model, in_chans=channels, num_classes=0, global_pool=""))
    info = MODELS[network.model]
    if network.slim is not None:
        kept = info.layers(network.slim, network.grain) if network.slim else 0
        slim.narrow_resnet(backbone, kept, network.slim_factor)
    width = cast(nn.BatchNorm2d, backbone.bn1).num_features
    for stage, count in zip(_STAGES, info.stage_layers(network.depth, network.grain), strict=True):
        layers = list(getattr(backbone, stage))[:count]
        setattr(backbone, stage, nn.Sequential(*layers) if layers else nn.Identity())
        width = slim.out_width(layers[-1]) if layers else width
    backbone.num_features = width
    return Trunk(backbone=backbone, width=width, layout="map")


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
