"""timm's Swin transformers: cut behind any attention or MLP half, and listed as blocks.

timm's object and its names are kept; only what lies behind the cut is taken out, the final norm included: a cut model
hands over what flows between its blocks as it is. No pretrained weights here, and not Swin v2.
"""

from typing import Any

from torch import nn

from sweeper.cell import Network
from sweeper.models.block import Block
from sweeper.models.halves import (
    check_size,
    half_blocks,
    holds_tensors,
    keep_halves,
    list_blocks,
    name_the_middle,
    patch_size,
)
from sweeper.models.info import Grain, ModelInfo
from sweeper.models.table import MODELS
from sweeper.models.trunk import Trunk


def cut(network: Network, channels: int, size: int) -> Trunk:
    """The backbone without what lies behind the cut; its output is a grid, (images, height, width, features).

    The whole network is drawn before it is cut, so that with one seed a shallower cut starts as a deeper one does.
    timm's stochastic depth stays: a kept block is left out in training as often as in the uncut model.

    Args:
        size: pixels; a stage whose grid is smaller than the model's window has a window of the grid's size, and a
            smaller table of relative positions.

    Raises:
        ValueError: a size that the patches do not divide, or another kind of model.
    """
    backbone = _draw(network, channels, size)
    info = MODELS[network.model]
    halves = info.stage_layers(network.depth, network.grain)
    width = backbone.embed_dim
    stages = []
    for stage, kept in zip(_stages(backbone), halves, strict=True):
        if kept:
            width = stage.blocks[0].dim
            stage.blocks = keep_halves(stage.blocks, kept)
            stages.append(stage)
    backbone.layers = nn.Sequential(*stages)
    for block in (block for stage in stages for block in stage.blocks):
        name_the_middle(block, tuple(block.input_resolution))
    if info.layers(network.depth, network.grain) < info.blocks["layer"]:
        backbone.norm = nn.Identity()
    backbone.num_features = width
    backbone.forward = backbone.forward_features
    return Trunk(backbone=backbone, width=width, layout="grid")


def blocks(backbone: Any, grain: Grain) -> list[Block]:
    """The blocks that were not cut away.

    Grain `layer`: patch embedding, attention and MLP half of each block (a stage's merging of patches, which timm puts
    at its start, is of its first attention half), final norm. Grain `block`: the stages, the first with the embedding,
    the last with the norm.
    """
    stem = Block(name="patch_embed", modules=("backbone.patch_embed",), tap="backbone.patch_embed")
    norm = Block(name="norm", modules=("backbone.norm",), tap="backbone.norm") if holds_tensors(backbone.norm) else None
    parts = {f"layers.{number}": _halves(number, stage) for number, stage in enumerate(_stages(backbone))}
    return list_blocks(stem, parts, norm, by_layer=grain == "layer")


def describe(model: nn.Module) -> ModelInfo | None:
    """What is known of a whole model of this family, but for its tags; None for any other."""
    from timm.models.swin_transformer import SwinTransformer

    if not isinstance(model, SwinTransformer):
        return None
    stages = tuple(2 * len(stage.blocks) for stage in _stages(model))
    return ModelInfo(family="swin", stages=stages, before=1, after=1, multiple=patch_size(model.patch_embed))


def _draw(network: Network, channels: int, size: int) -> Any:
    import timm  # takes seconds, which networks of other families do without

    drawn: Any = timm.create_model(network.model, in_chans=channels, num_classes=0, img_size=size)
    if describe(drawn) is None:
        raise ValueError(f"'{network.model}' is a {type(drawn).__name__}, not a Swin transformer")
    check_size(network.model, size, drawn.patch_embed)
    return drawn


def _stages(backbone: Any) -> list[Any]:
    return list(backbone.layers)


def _halves(number: int, stage: Any) -> list[Block]:
    found: list[Block] = []
    for index, block in enumerate(stage.blocks):
        before = [f"layers.{number}.downsample"] if index == 0 else []
        found += half_blocks(block, f"layers.{number}.blocks.{index}", before)
    return found
