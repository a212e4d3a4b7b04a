"""What a family's `cut` hands to the classifier: the backbone, and how its output is laid out.

It says nothing of the head. What one image's output is as one vector is said here, for the head and the probes.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

Layout = Literal["map", "grid", "tokens", "vector"]
Pool = Literal["mean", "first", "pair"]


@dataclass(frozen=True, kw_only=True)
class Trunk:
    """A backbone that ends at the cut."""

    backbone: nn.Module
    """Takes normalised images (images, channels, height, width); its tensors have the names of the untruncated one."""
    width: int
    """Features of an image after pooling."""
    layout: Layout
    """The output: `map` (images, width, height, width), `grid` (images, height, width, features), `tokens` (images,
    tokens, features), class tokens first, or `vector` (images, features)."""
    inner: Layout = "map"
    """Where the output is a vector: the layout of the outputs of blocks that are none."""
    pool: Pool = "mean"
    """What pooling makes of tokens: the mean of those of the image, the first alone (the class token), or the mean of
    the first two (class and distillation token)."""
    class_tokens: int = 0
    """Tokens before those of the image, which the mean leaves out; of tokens alone."""


def pooled(output: Tensor, trunk: Trunk) -> Tensor:
    """One vector an image, (images, features), of the trunk's output or of one of its blocks'.

    The mean over the image plane (Swin's halves too, as in Matsoukas et al. 2022); of tokens what the trunk's `pool`
    says. A block that gives a vector already keeps it.
    """
    match _layout(output, trunk), trunk.pool:
        case "map", _:
            return output.mean(dim=(2, 3))
        case "grid", _:
            return output.mean(dim=(1, 2))
        case "tokens", "first":
            return output[:, 0]
        case "tokens", "pair":
            return output[:, :2].mean(dim=1)
        case "tokens", _:
            return output[:, trunk.class_tokens :].mean(dim=1)
        case _:
            return output


def class_token(output: Tensor, trunk: Trunk) -> Tensor:
    """The class token of a block's output, (images, features).

    Raises:
        ValueError: when the output has none.
    """
    if _layout(output, trunk) != "tokens" or not trunk.class_tokens:
        raise ValueError("the output of a block has no class token; take features='pooled' or 'patches'")
    return output[:, 0]


def spread(output: Tensor, trunk: Trunk) -> Tensor:
    """A block's output at every place of the image, (images, places, features), class tokens left out.

    An output that is one vector an image has one place.
    """
    match _layout(output, trunk):
        case "map":
            return output.flatten(2).transpose(1, 2)
        case "grid":
            return output.flatten(1, 2)
        case "tokens":
            return output[:, trunk.class_tokens :]
        case _:
            return output[:, None]


def _layout(output: Tensor, trunk: Trunk) -> Layout:
    return trunk.layout if trunk.layout != "vector" or output.ndim == 2 else trunk.inner
