"""timm's Inception-v3, without its auxiliary head: cut behind a stage or a module, and listed as blocks.

timm's object and its names are kept; only what lies behind the cut is taken out. No pretrained weights here.
"""

from typing import TYPE_CHECKING, Any, cast

from torch import nn

from sweeper.cell import Network
from sweeper.models.block import Block
from sweeper.models.info import Grain
from sweeper.models.table import MODELS
from sweeper.models.trunk import Trunk

if TYPE_CHECKING:
    from timm.models.inception_v3 import InceptionV3

_STAGES = {
    "stem1": ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"),
    "stem2": ("Conv2d_3b_1x1", "Conv2d_4a_3x3"),
    "Mixed_5": ("Mixed_5b", "Mixed_5c", "Mixed_5d"),
    "Mixed_6": ("Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    "Mixed_7": ("Mixed_7a", "Mixed_7b", "Mixed_7c"),
}
_POOLS = {"Conv2d_2b_3x3": "Pool1", "Conv2d_4a_3x3": "Pool2"}
"""The pool behind a convolution, which ends its layer as the one behind a ResNet's stem does."""
_LAYERS = tuple(layer for stage in _STAGES.values() for layer in stage)
_WIDTHS = dict(zip(_LAYERS, (32, 32, 64, 80, 192, 256, 288, 288, *(768,) * 5, 1280, 2048, 2048), strict=True))


def cut(network: Network, channels: int, size: int) -> Trunk:
    """The backbone without what lies behind the cut, which is drawn first, so that all cuts of one seed start alike."""
    import timm  # takes seconds, which networks of other families do without

    made: Any = timm.create_model(network.model, in_chans=channels, num_classes=0, global_pool="", aux_logits=False)
    backbone = cast("InceptionV3", made)
    kept = MODELS[network.model].layers(network.depth, network.grain)
    for layer in _LAYERS[kept:]:
        setattr(backbone, layer, nn.Identity())
        if layer in _POOLS:
            setattr(backbone, _POOLS[layer], nn.Identity())
    backbone.num_features = _WIDTHS[_LAYERS[kept - 1]]
    return Trunk(backbone=backbone, width=backbone.num_features, layout="map")


def blocks(backbone: nn.Module, grain: Grain) -> list[Block]:
    """The blocks that were not cut away."""
    there = [layer for layer in _LAYERS if not isinstance(backbone.get_submodule(layer), nn.Identity)]
    if grain == "layer":
        return [_block(layer, [layer]) for layer in there]
    stages = {stage: [layer for layer in layers if layer in there] for stage, layers in _STAGES.items()}
    return [_block(stage, layers) for stage, layers in stages.items() if layers]


def _block(name: str, layers: list[str]) -> Block:
    return Block(
        name=name,
        modules=tuple(f"backbone.{layer}" for layer in layers),
        tap=f"backbone.{_POOLS.get(layers[-1], layers[-1])}",
    )
