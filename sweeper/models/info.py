"""What is known of a model without building it: how many blocks it has, what images it needs, what weights there are.

It names no model, that is `table.py`'s, and imports no torch.
"""

from dataclasses import dataclass
from typing import Literal

Grain = Literal["block", "layer"]


@dataclass(frozen=True, kw_only=True)
class CbrShape:
    """What tells the members of the CBR family apart."""

    widths: tuple[int, ...]
    """Output channels of each convolution-norm-ReLU block."""
    kernel: int
    """Height and width of the convolutions in pixels; their stride is 1."""
    pools: int
    """How many blocks, from the first, end in a 3x3 max pool of stride 2."""
    padding: int = 0
    """Pixels added on each side before a convolution and before a pool."""


Family = Literal["resnet", "cbr", "densenet", "inception", "efficientnet", "alexnet", "vit", "swin", "generic"]
Window = tuple[int, int, int]
"""Kernel, stride and padding of a convolution or a pool, in pixels."""


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What is known of a model without building it."""

    family: Family
    stages: tuple[int, ...]
    """Layers in each stage: residual blocks, dense layers with their transition, or halves of transformer blocks."""
    before: int = 0
    """Layers before the first stage and, at grain `block`, part of it: the stem."""
    after: int = 0
    """Layers behind the last stage and, at grain `block`, part of it: a final norm or convolution."""
    tags: tuple[str, ...] = ()
    """What may follow the name and a dot: timm's tags of pretrained weights."""
    shape: CbrShape | None = None
    """Set for the CBR family alone."""
    windows: tuple[tuple[Window, ...], ...] = ()
    """Per layer, what an image must be large enough for; empty where padding lets one pixel through."""
    multiple: int = 1
    """What an image's height and width must be a multiple of: the patch size of a ViT."""
    refused: str = ""
    """Why the model cannot be used, in one sentence; empty where it can."""

    @property
    def blocks(self) -> dict[Grain, int]:
        """Number of blocks at each grain."""
        return {"block": len(self.stages), "layer": self.before + sum(self.stages) + self.after}

    def layers(self, depth: int | None, grain: Grain) -> int:
        """How many layers, of those that grain `layer` counts, lie before the cut."""
        count = self.blocks[grain] if depth is None else depth
        if grain == "layer":
            return count
        return self.before + sum(self.stages[:count]) + (self.after if count == len(self.stages) else 0)

    def stage_layers(self, depth: int | None, grain: Grain) -> list[int]:
        """How many layers of each stage lie before the cut."""
        left = self.layers(depth, grain) - self.before
        starts = [sum(self.stages[:number]) for number in range(len(self.stages))]
        return [min(max(left - start, 0), layers) for start, layers in zip(starts, self.stages, strict=True)]

    def smallest(self, depth: int | None, grain: Grain) -> int:
        """Height and width in pixels of the smallest image that leaves at least one pixel after `depth` blocks."""
        pixels = 1
        for windows in reversed(self.windows[: self.layers(depth, grain)]):
            for kernel, stride, padding in reversed(windows):
                pixels = max(1, (pixels - 1) * stride + kernel - 2 * padding)
        return max(pixels, self.multiple)
