"""Transformer blocks in two halves, attention and MLP, for the families that have such blocks.

timm's blocks keep their tensor names and their forward; which file of a family asks for what is not known here.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from sweeper.models.block import Block

_ATTENTION = ("norm1", "attn", "ls1")
_MLP = ("norm2", "mlp", "ls2")


class Between(nn.Identity):
    """Where a block's attention half hands over to its MLP half; timm has no module whose output that is."""

    def __init__(self, grid: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.grid = grid

    def passing(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Lets the input of the MLP half's norm flow through this module: a pre-hook of that norm."""
        hidden, *others = inputs
        if self.grid is None:
            return self(hidden), *others
        # Swin flattens its grid just before
        return self(hidden.unflatten(1, self.grid)).flatten(1, 2), *others


class Nothing(nn.Module):
    """An MLP half that adds nothing: a zero for whatever comes in."""

    def forward(self, hidden: Tensor) -> Tensor:
        """A zero without dimensions, of the input's kind."""
        return hidden.new_zeros(())


def keep_halves(blocks: Iterable[Any], halves: int) -> nn.Sequential:
    """The first blocks, as many as `halves` halves need; an odd number takes the MLP half from the last.

    That block's output is then the sum after its attention half, exactly.
    """
    kept = list(blocks)[: (halves + 1) // 2]
    if halves % 2:
        _take_mlp(kept[-1])
    return nn.Sequential(*kept)


def name_the_middle(block: Any, grid: tuple[int, int] | None = None) -> None:
    """Gives a block with both halves the module `between`, whose output is that of the attention half.

    Args:
        grid: height and width in patches, where the output is to have them as dimensions.
    """
    if _has_mlp(block):
        block.between = Between(grid)
        block.norm2.register_forward_pre_hook(block.between.passing)


def half_blocks(block: Any, name: str, before: Sequence[str] = ()) -> list[Block]:
    """The attention half and, where it was not taken out, the MLP half.

    Args:
        name: the block's name under the backbone, as `blocks.3`.
        before: names of modules that run before and belong to the attention half.
    """
    tensors = tuple(f"backbone.{name}.{each}" for each, _ in block.named_buffers(recurse=False))
    attention = Block(
        name=f"{name}.attn",
        modules=(*(f"backbone.{each}" for each in before), *_present(block, name, _ATTENTION)),
        tensors=tensors,  # Swin's mask of windows that reach over the edge
        tap=f"backbone.{name}.between" if _has_mlp(block) else f"backbone.{name}",
    )
    if not _has_mlp(block):
        return [attention]
    return [
        attention,
        Block(name=f"{name}.mlp", modules=_present(block, name, _MLP), tap=f"backbone.{name}"),
    ]


def patch_size(patch_embed: Any) -> int:
    """Height and width in pixels of what becomes one token."""
    return max(patch_embed.patch_size)


def check_size(name: str, size: int, patch_embed: nn.Module) -> None:
    """Raises ValueError for images that do not divide into patches: timm would leave out the rest without a word."""
    patch = patch_size(patch_embed)
    if size % patch:
        near = max(patch, round(size / patch) * patch)
        raise ValueError(f"size {size} does not divide into the {patch}-pixel patches of '{name}'; {near} does")


def holds_tensors(module: nn.Module | None) -> bool:
    """Whether there is any parameter or buffer in it."""
    return module is not None and any(True for _ in (*module.parameters(), *module.buffers()))


def list_blocks(stem: Block, parts: dict[str, list[Block]], tail: Block | None, *, by_layer: bool) -> list[Block]:
    """The layers one by one, or each part's as one block, the stem with the first part and the tail with the last."""
    groups = {name: list(layers) for name, layers in parts.items() if layers} or {stem.name: []}
    first, last = next(iter(groups)), next(reversed(groups))
    groups[first].insert(0, stem)
    groups[last].extend([tail] if tail else [])
    if by_layer:
        return [layer for layers in groups.values() for layer in layers]
    return [_joined(name, layers) for name, layers in groups.items()]


def _joined(name: str, layers: Sequence[Block]) -> Block:
    return Block(
        name=name,
        modules=tuple(module for layer in layers for module in layer.modules),
        tensors=tuple(tensor for layer in layers for tensor in layer.tensors),
        tap=layers[-1].tap,
    )


def _present(block: nn.Module, name: str, parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"backbone.{name}.{part}" for part in parts if hasattr(block, part))


def _has_mlp(block: Any) -> bool:
    return not isinstance(block.mlp, Nothing)


def _take_mlp(block: Any) -> None:
    for part in ("norm2", "ls2", "drop_path2"):
        if hasattr(block, part):
            setattr(block, part, nn.Identity())
    block.mlp = Nothing()
