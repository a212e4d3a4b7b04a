"""timm's DenseNets: cut behind a dense block, a dense layer or a transition, slimmed on request, listed as blocks.

timm's tensors keep their names; a final norm is followed by a ReLU, as in timm. No pretrained weights here.
"""

from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from sweeper.cell import Network
from sweeper.models import slim
from sweeper.models.block import Block
from sweeper.models.info import Grain
from sweeper.models.table import MODELS
from sweeper.models.trunk import Trunk

if TYPE_CHECKING:
    from timm.models.densenet import DenseNet

_FEATURES = "backbone.features"
_STEM = (f"{_FEATURES}.conv0", f"{_FEATURES}.norm0")
_STEM_TAP = f"{_FEATURES}.pool0"


class DenseBlock(nn.ModuleDict):
    """timm's dense layers, each behind the concatenation of all that came before; it can end after any of them.

    A layer's own output is only what it adds. The concatenation, which the next layer takes, passes through its module
    `joined`, so that it can be tapped.
    """

    def forward(self, features: Tensor) -> Tensor:
        """All channels after the last layer, those of the input first."""
        layer: Any
        for layer in self.values():
            new = layer.conv2(layer.norm2(layer.conv1(layer.norm1(features))))
            features = layer.joined(torch.cat((features, new), dim=1))
        return features


def cut(network: Network, channels: int, size: int) -> Trunk:
    """The backbone without what lies behind the cut, which is drawn first, so that all cuts of one seed start alike."""
    import timm  # takes seconds, which networks of other families do without

    backbone = cast("DenseNet", timm.create_model(network.model, in_chans=channels, num_classes=0, global_pool=""))
    if network.slim is not None:
        slim.narrow_densenet(backbone, network.slim, network.slim_factor)
    info = MODELS[network.model]
    parts = dict(backbone.features.named_children())
    kept = {name: parts[name] for name in ("conv0", "norm0", "pool0")}
    for number, count in enumerate(info.stage_layers(network.depth, network.grain), start=1):
        kept |= _cut_stage(parts, number, count)
    if info.layers(network.depth, network.grain) == info.blocks["layer"]:
        kept["norm5"] = parts["norm5"]
    backbone.features = nn.Sequential()
    for name, part in kept.items():
        backbone.features.add_module(name, part)
    backbone.num_features = _width(kept)
    return Trunk(backbone=backbone, width=backbone.num_features, layout="map")


def blocks(backbone: nn.Module, grain: Grain) -> list[Block]:
    """The blocks that were not cut away; the transition behind a dense block is a layer, and part of its block."""
    names = [name for name, _ in backbone.get_submodule("features").named_children()]
    stem = Block(name="stem", modules=_STEM, tap=_STEM_TAP)
    layers = [stem, *(block for name in names[3:] for block in _layers(backbone, name))]
    if grain == "layer":
        return layers
    ends = [number for number, name in enumerate(names) if name.startswith("denseblock")]
    if not ends:
        return [stem]
    bounds = [0, *ends[1:], len(names)]
    return [_stage(names[start:end]) for start, end in pairwise(bounds)]


def _stage(names: list[str]) -> Block:
    return Block(
        name=next(name for name in names if name.startswith("denseblock")),
        modules=tuple(f"{_FEATURES}.{name}" for name in names),
        tap=f"{_FEATURES}.{names[-1]}",
    )


def _layers(backbone: nn.Module, name: str) -> list[Block]:
    part = backbone.get_submodule(f"features.{name}")
    if not isinstance(part, DenseBlock):
        return [Block(name=name, modules=(f"{_FEATURES}.{name}",), tap=f"{_FEATURES}.{name}")]
    return [
        Block(name=f"{name}.{layer}", modules=(whole,), tap=f"{whole}.joined")
        for layer in part
        for whole in (f"{_FEATURES}.{name}.{layer}",)
    ]


def _cut_stage(parts: dict[str, nn.Module], number: int, count: int) -> dict[str, nn.Module]:
    """What the first `count` layers of a stage are: dense layers and, behind all of them, the transition."""
    if count == 0:
        return {}
    name, transition = f"denseblock{number}", f"transition{number}"
    layers = list(parts[name].named_children())
    for _, layer in layers:
        layer.add_module("joined", nn.Identity())
    kept: dict[str, nn.Module] = {name: DenseBlock(dict(layers[:count]))}
    return kept | ({transition: parts[transition]} if count > len(layers) else {})


def _width(kept: dict[str, nn.Module]) -> int:
    """Channels of the output."""
    name, last = list(kept.items())[-1]
    match last:
        case DenseBlock():
            *_, layer = last.values()
            convolutions: Any = dict(layer.named_children())
            return convolutions["conv1"].in_channels + convolutions["conv2"].out_channels
        case nn.Sequential():
            return cast(nn.Conv2d, last.get_submodule("conv")).out_channels
    return cast(nn.BatchNorm2d, kept["norm0" if name == "pool0" else name]).num_features
