"""timm's EfficientNets: cut behind a stage or an inverted residual, and listed as blocks.

timm's object and its names are kept; only what lies behind the cut is taken out. No pretrained weights here.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from torch import nn

from sweeper.cell import Network
from sweeper.models.block import Block
from sweeper.models.info import Grain
from sweeper.models.table import MODELS
from sweeper.models.trunk import Trunk

if TYPE_CHECKING:
    from timm.models.efficientnet import EfficientNet

_STEM = Block(name="stem", modules=("backbone.conv_stem", "backbone.bn1"), tap="backbone.bn1")
_LAST = Block(name="conv_head", modules=("backbone.conv_head", "backbone.bn2"), tap="backbone.bn2")


def cut(network: Network, channels: int, size: int) -> Trunk:
    """The backbone without what lies behind the cut, which is drawn first, so that all cuts of one seed start alike."""
    import timm  # takes seconds, which networks of other families do without

    backbone = cast("EfficientNet", timm.create_model(network.model, in_chans=channels, num_classes=0, global_pool=""))
    info = MODELS[network.model]
    if info.layers(network.depth, network.grain) == info.blocks["layer"]:
        return Trunk(backbone=backbone, width=cast(int, backbone.num_features), layout="map")
    counts = info.stage_layers(network.depth, network.grain)
    stages = [list(stage.children())[:count] for stage, count in zip(backbone.blocks, counts, strict=True)]
    stages = [stage for stage in stages if stage]
    backbone.blocks = nn.Sequential(*(nn.Sequential(*stage) for stage in stages))
    backbone.conv_head = backbone.bn2 = nn.Identity()
    backbone.num_features = _width(stages[-1][-1] if stages else backbone.bn1)
    return Trunk(backbone=backbone, width=backbone.num_features, layout="map")


def blocks(backbone: nn.Module, grain: Grain) -> list[Block]:
    """The blocks that were not cut away; at grain `block` the first has the stem, the last the final convolution."""
    stages = dict(backbone.get_submodule("blocks").named_children())
    layers = [f"blocks.{stage}.{layer}" for stage, part in stages.items() for layer, _ in part.named_children()]
    whole = not isinstance(backbone.get_submodule("conv_head"), nn.Identity)
    if grain == "layer" or not stages:
        return [_STEM, *map(_block, layers), *([_LAST] if whole else [])]
    found = [_block(f"blocks.{stage}") for stage in stages]
    found[0] = replace(found[0], modules=(*_STEM.modules, *found[0].modules))
    if whole:
        found[-1] = replace(found[-1], modules=(*found[-1].modules, *_LAST.modules), tap=_LAST.tap)
    return found


def _block(name: str) -> Block:
    return Block(name=name, modules=(f"backbone.{name}",), tap=f"backbone.{name}")


def _width(part: nn.Module) -> int:
    """Channels behind the part's last norm."""
    *_, norm = (each for each in part.modules() if isinstance(each, nn.BatchNorm2d))
    return norm.num_features
