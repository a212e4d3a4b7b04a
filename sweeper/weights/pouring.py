"""Pours a source's values into a model, block by block: copied, drawn from their statistics, or left as they are.

It never skips a tensor in silence and never touches the head. Which tensors a block has is for `sweeper.models` to say.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sweeper import models
from sweeper.cell import Weights
from sweeper.models.classifier import Classifier
from sweeper.site import Site
from sweeper.weights.sources import State, read_state
from sweeper.weights.table import problem

_PREFIX = "backbone."
_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Poured:
    """How many of the backbone's tensors were treated how."""

    copied: int
    """Taken over from the source."""
    drawn: int
    """Drawn with the mean and sd of the source's tensor."""
    reset: int
    """Tensors of norm layers beside drawn ones: weight 1, bias 0, running mean 0 and variance 1."""
    left: int
    """Left at the model's own start."""


def pour(weights: Weights, model: Classifier, *, seed: int, site: Site) -> Poured:
    """Fills the model's backbone in place with its starting values.

    The first `weights.blocks` blocks, at the grain of the model's network, are copied. The others keep the model's own
    start (`random`; weight transfusion, Raghu et al. 2019) or are drawn (`stats`; Matsoukas et al. 2022: ST, WT-ST-n).

    Args:
        seed: the cell's; with `stats` a tensor's draw depends on source, model, seed and its name alone, so that every
            n and every depth shares it.

    Raises:
        ValueError: when the source cannot serve the model, or a tensor asked of it is missing or has another shape.
    """
    wrong = problem(weights, model.network.model)
    if wrong:
        raise ValueError(wrong)
    if weights.source == "random":
        return Poured(copied=0, drawn=0, reset=0, left=len(model.backbone.state_dict()))
    return pour_state(weights, model, read_state(weights.source, model.network.model, site), seed=seed)


@torch.no_grad()
def pour_state(weights: Weights, model: Classifier, state: State, *, seed: int) -> Poured:
    """As `pour`, from a state that has been read: tensors by the names of an untruncated backbone."""
    first, others = _split_keys(weights, model)
    copied = first
    drawn, reset = _sampled_keys(model, others) if weights.rest == "stats" else ([], [])
    _check_fit(weights, model, state, [*copied, *drawn])
    own = model.state_dict()  # the model's very tensors, not copies
    for key in copied:
        own[key].copy_(state[key.removeprefix(_PREFIX)])
    for key in drawn:
        name = key.removeprefix(_PREFIX)
        own[key].copy_(draw_like(state[name], f"{weights.source}|{model.network.model}|{seed}|{name}"))
    _reset_norms(model, reset)
    left = len(model.backbone.state_dict()) - len(copied) - len(drawn) - len(reset)
    return Poured(copied=len(copied), drawn=len(drawn), reset=len(reset), left=left)


def draw_like(tensor: Tensor, name: str) -> Tensor:
    """Independent Gaussian draws with the tensor's shape, its mean and its unbiased sd, both over the whole tensor.

    A single value has no sd; it is drawn with none, hence as itself.

    Args:
        name: what the draw is for; one name always gives the same draw.
    """
    values = tensor.double()  # so that the mean of millions of small values is exact
    sd = values.std().item() if values.numel() > 1 else 0.0
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) >> 1  # 63 bits: torch takes signed seeds
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tensor.shape, generator=generator) * sd + values.mean().item()


def _split_keys(weights: Weights, model: Classifier) -> tuple[list[str], list[str]]:
    """The state-dict keys of the blocks that receive the source's values, and of the other blocks."""
    blocks = models.blocks(model, model.network.grain)
    count = len(blocks) if weights.blocks is None else weights.blocks
    if not 0 <= count <= len(blocks):
        raise ValueError(f"blocks is {count}, but '{model.network.model}' as it is cut here has {len(blocks)} blocks")
    keys = [models.block_keys(model, block) for block in blocks]
    return [key for block in keys[:count] for key in block], [key for block in keys[count:] for key in block]


def _sampled_keys(model: Classifier, keys: Iterable[str]) -> tuple[list[str], list[str]]:
    """Which keys are drawn (convolutions, linear layers) and which are reset (batch norms)."""
    drawn, reset = [], []
    for key in keys:
        module = model.get_submodule(key.rpartition(".")[0])
        match module:
            case nn.Conv2d() | nn.Linear():
                drawn.append(key)
            case nn.BatchNorm2d():
                reset.append(key)
            case _:
                raise ValueError(f"rest='stats' has no rule for {key}, a tensor of {type(module).__name__}")
    return drawn, reset


def _reset_norms(model: Classifier, keys: Iterable[str]) -> None:
    for name in dict.fromkeys(key.rpartition(".")[0] for key in keys):
        norm = model.get_submodule(name)
        assert isinstance(norm, nn.BatchNorm2d)
        norm.reset_parameters()  # the running statistics as well


def _check_fit(weights: Weights, model: Classifier, state: State, keys: Sequence[str]) -> None:
    own = model.state_dict()
    names = {key.removeprefix(_PREFIX): own[key].shape for key in keys}
    missing = [name for name in names if name not in state]
    misshapen = [
        f"{name} {tuple(state[name].shape)} for {tuple(shape)}"
        for name, shape in names.items()
        if name in state and state[name].shape != shape
    ]
    wrong = [
        f"{len(found)} of {len(keys)} {kind} ({', '.join(found[:_SHOWN])}{', ...' if len(found) > _SHOWN else ''})"
        for found, kind in ((missing, "are missing"), (misshapen, "have another shape"))
        if found
    ]
    if wrong:
        raise ValueError(
            f"source '{weights.source}' does not fit '{model.network.model}': of the tensors asked of it "
            f"{' and '.join(wrong)}; name a source made with this model, or copy fewer blocks"
        )
