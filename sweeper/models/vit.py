"""timm's vision transformers (ViT, DeiT): cut behind any attention or MLP half, and listed as blocks.

timm's object and its names are kept; only what lies behind the cut is taken out, the final norm included: a cut model
hands over what flows between its blocks as it is. No pretrained weights here, and no relatives with blocks of another
kind (parallel, post-norm).
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
from sweeper.models.trunk import Pool, Trunk

_TABLES = ("cls_token", "dist_token", "reg_token", "pos_embed")
_TAIL = ("norm", "attn_pool", "fc_norm")


def cut(network: Network, channels: int, size: int) -> Trunk:
    """The backbone without what lies behind the cut; its output are all tokens, class tokens first.

    Pooling is timm's: the class token, the mean of class and distillation token, or the mean of the patches' tokens.
    An uncut model that norms or attends after pooling (`fc_norm`, `attn_pool`) pools itself: its output is a vector.
    The whole network is drawn before it is cut, so that with one seed a shallower cut starts as a deeper one does.

    Args:
        size: pixels; the position table is drawn for it.

    Raises:
        ValueError: a size that the patches do not divide, blocks of another kind, or a `flatten` head on a vector.
    """
    backbone = _draw(network, channels, size)
    info = MODELS[network.model]
    backbone.blocks = keep_halves(backbone.blocks, sum(info.stage_layers(network.depth, network.grain)))
    if info.layers(network.depth, network.grain) < info.blocks["layer"]:
        backbone.norm, backbone.attn_pool, backbone.fc_norm = nn.Identity(), None, nn.Identity()
    for block in backbone.blocks:
        name_the_middle(block)
    itself = _pools_itself(backbone)
    if itself and network.head == "flatten":
        raise ValueError(f"'{network.model}' pools before its last layer: head 'flatten' needs it cut, or head 'pool'")
    if not itself:
        backbone.forward = backbone.forward_features
    return Trunk(
        backbone=backbone,
        width=backbone.embed_dim,
        layout="vector" if itself else "tokens",
        inner="tokens",
        pool=_pool(backbone),
        class_tokens=0 if backbone.pool_include_prefix else backbone.num_prefix_tokens,
    )


def blocks(backbone: Any, grain: Grain) -> list[Block]:
    """The blocks that were not cut away.

    Grain `layer`: patch embedding with class token and position table, attention and MLP half of each block, final
    norm. Grain `block`: transformer blocks, the first with the embedding, the last with the norm.
    """
    stem = Block(
        name="patch_embed",
        modules=("backbone.patch_embed", "backbone.norm_pre"),
        tensors=tuple(f"backbone.{name}" for name in _TABLES if getattr(backbone, name, None) is not None),
        tap="backbone.norm_pre",
    )
    parts = {f"blocks.{index}": half_blocks(block, f"blocks.{index}") for index, block in enumerate(backbone.blocks)}
    return list_blocks(stem, parts, _tail(backbone), by_layer=grain == "layer")


def describe(model: nn.Module) -> ModelInfo | None:
    """What is known of a whole model of this family, but for its tags; None for any other."""
    from timm.models.vision_transformer import Block as TimmBlock
    from timm.models.vision_transformer import VisionTransformer

    if not (isinstance(model, VisionTransformer) and all(type(block) is TimmBlock for block in model.blocks)):
        return None
    return ModelInfo(
        family="vit",
        stages=(2,) * len(model.blocks),
        before=1,
        after=1 if _tail(model) else 0,
        multiple=patch_size(model.patch_embed),
    )


def _draw(network: Network, channels: int, size: int) -> Any:
    import timm  # takes seconds, which networks of other families do without

    drawn: Any = timm.create_model(network.model, in_chans=channels, num_classes=0, img_size=size)
    if describe(drawn) is None:
        raise ValueError(f"'{network.model}' has no blocks of an attention and an MLP half: it is no plain ViT")
    check_size(network.model, size, drawn.patch_embed)
    return drawn


def _tail(backbone: Any) -> Block | None:
    held = tuple(f"backbone.{name}" for name in _TAIL if holds_tensors(getattr(backbone, name)))
    tap = "backbone.fc_norm" if _pools_itself(backbone) else "backbone.norm"
    return Block(name="norm", modules=held, tap=tap) if held else None


def _pools_itself(backbone: Any) -> bool:
    return holds_tensors(backbone.attn_pool) or holds_tensors(backbone.fc_norm)


def _pool(backbone: Any) -> Pool:
    if hasattr(backbone, "dist_token"):
        return "pair"
    return "first" if backbone.global_pool == "token" else "mean"
