"""Where Matsoukas et al. 2022 count their transferred layers, in the depth coordinate of `sweeper.models`.

Pure values for a search space; what is copied, drawn and reset there is `pouring.py`'s.
"""

from itertools import accumulate
from typing import Any

from sweeper.models import MODELS, ModelInfo, family_of

_INCEPTION = (1, 2, 1, 1, 3, 5, 3)
"""Layers in each of the study's groups -1..5: Conv2d_1a | 2a, 2b | 3b | 4a | Mixed_5* | Mixed_6* | Mixed_7*."""


def study_indices(model: str) -> range:
    """The study's `transfer_up_to_layer` of a model: -2 (nothing is transferred) to the one that transfers all.

    Raises:
        ValueError: when the study had no model of this family.
    """
    return range(-2, len(_layers(model)) - 2)


def study_index(model: str, t: int) -> dict[str, Any]:
    """The axes of a cell that starts as the study's `transfer_up_to_layer = t` does: grain, blocks, rest and norms.

    What lies in layers up to t is the source's, the rest is drawn (`stats`), its norm layers are reset, and class
    tokens and position tables are the source's everywhere. t = -2 is the study's ST, the largest t its WT.

    - ResNet: -1 the first convolution without its norm layer, 0 with it (of `resnet10t`, a three-convolution stem),
      1..4 the stages.
    - Inception-v3: the groups of `_INCEPTION`.
    - ViT, DeiT: -1 the patch embedding, t >= 0 the first t + 1 transformer blocks, 12 of 12 the final norm as well.
    - Swin: the same, blocks counted over the stages. The study's network has a stage's downsampling at the end of the
      stage, drawn unless the next block is kept; timm's has it at the start of the next one, which comes to the same.

    Raises:
        ValueError: when the study had no model of this family, or t is not in `study_indices(model)`.
    """
    indices = study_indices(model)
    if t not in indices:
        raise ValueError(f"t is {t}; of '{model}' it is {indices[0]} to {indices[-1]}")
    bare_stem = family_of(model) == "resnet" and t == -1
    return {
        "grain": "layer",
        "blocks": _layers(model)[t + 2],
        "rest": "stats",
        "norms": "reset" if bare_stem else "copy",
    }


def _layers(model: str) -> list[int]:
    """How many layers are transferred at t = -2, -1, 0, ..."""
    info = MODELS[model]
    match info.family:
        case "resnet":
            return [0, info.before, *accumulate(info.stages, initial=info.before)]
        case "inception":
            return [0, *accumulate(_INCEPTION)]
        case "vit" | "swin":
            return [*_tokens(info), info.blocks["layer"]]
    raise ValueError(f"Matsoukas et al. 2022 have no index for '{model}' of the family '{info.family}'")


def _tokens(info: ModelInfo) -> list[int]:
    """Nothing, the patch embedding, and behind it each transformer block: two halves."""
    return [0, *range(info.before, info.before + sum(info.stages) + 1, 2)]
