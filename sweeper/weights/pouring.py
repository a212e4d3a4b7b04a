"""Pours a source's values into a model, block by block: copied, drawn in their likeness, reset, or left as they are.

It never skips a tensor in silence and never touches the head. Which tensors a block has is for `sweeper.models` to say,
and what kind they are `kinds.py` tells by the type of their module.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import torch

from sweeper import models
from sweeper.cell import Network, Weights
from sweeper.models.classifier import Classifier
from sweeper.site import Site
from sweeper.weights.drawing import draw_like
from sweeper.weights.fitting import adapt_channels, misfits, resample_tables, shown
from sweeper.weights.gabor import make_filters
from sweeper.weights.judging import problem
from sweeper.weights.kinds import kind_of, reset_norm
from sweeper.weights.report import LoadReport
from sweeper.weights.soundness import check_sound
from sweeper.weights.sources import State, read_state
from sweeper.weights.table import heads_of

_PREFIX = "backbone."


def pour(
    weights: Weights, model: Classifier, *, seed: int, site: Site, order: Literal["rgb", "bgr"] = "rgb"
) -> LoadReport:
    """Fills the model's backbone in place with its starting values.

    The first `weights.blocks` blocks, at the grain of the model's network, receive the source's values; of a slimmed
    model those that keep their width, by default all of them. The others keep the model's own start (`rest` `random`;
    weight transfusion, Raghu et al. 2019) or are drawn (Matsoukas et al. 2022: ST, WT-ST-n): convolutions and linear
    layers in the likeness of the source's tensor, weights and biases each by themselves, norm layers reset, class
    tokens and position tables kept unless `weights.tables` has them drawn. A first layer of other channels is drawn
    first and adapted then; a position table of another image size the other way round.

    Args:
        model: as it was built, with its own random start.
        seed: the cell's; a tensor's draw depends on source, model, seed and its name alone, so that every n and every
            depth shares it.
        order: of the channels as the model will see them, for coloured Gabor filters.

    Raises:
        ValueError: when the source cannot serve the model, a tensor asked of it is missing or has another shape, it
            holds tensors of another model, or values that no trained network has.
    """
    network = model.network
    wrong = problem(weights, network.model, slim=network.slim, input=network.input)
    if wrong:
        raise ValueError(wrong)
    if network.input == "red" and order == "bgr":
        raise ValueError("input 'red' takes the filters of the first channel, which is blue with these pixels")
    first = models.first_weight(model)
    sd = model.state_dict()[first].std(correction=0).item()
    if weights.source == "random":
        report = LoadReport(left=_plain(model.backbone.state_dict()))
    else:
        report = pour_state(weights, model, read_state(weights.source, network.model, site), seed=seed)
    if weights.gabor is None:
        return report
    with torch.no_grad():
        own = model.state_dict()[first]
        own.copy_(make_filters(weights.gabor, own.shape, sd=sd, order=order))
    return _filled(report, first.removeprefix(_PREFIX))


@torch.no_grad()
def pour_state(weights: Weights, model: Classifier, state: State, *, seed: int) -> LoadReport:
    """As `pour` without a Gabor bank, from a state that has been read, under the names of an untruncated backbone."""
    plan = _plan(weights, model)
    asked = [*plan.loaded, *plan.kept, *plan.drawn]
    given = {_PREFIX + name: tensor for name, tensor in state.items()}
    check_sound(state, weights.source)
    resampled = resample_tables(model, given, asked)
    unexpected = _check_fit(weights, model, given, asked)
    own = model.state_dict()  # the model's very tensors, not copies
    first = models.first_weight(model)
    drawn = {key: f"{weights.source}|{model.network.model}|{seed}|{key.removeprefix(_PREFIX)}" for key in plan.drawn}
    for key in asked:
        tensor = given[key]
        if weights.rest != "random" and key in drawn:
            tensor = draw_like(tensor, drawn[key], weights.rest)
        own[key].copy_(adapt_channels(model, tensor, own[key].shape) if key == first else tensor)
    for name in dict.fromkeys(key.rpartition(".")[0] for key in plan.reset):
        reset_norm(model, name)
    adapted = [first] if first in asked and given[first].shape != own[first].shape else []
    return LoadReport(
        loaded=_plain(plan.loaded),
        drawn=_plain(plan.drawn),
        reset=_plain(plan.reset),
        kept=_plain(plan.kept),
        left=_plain(plan.left),
        reshaped=_plain([*adapted, *resampled]),
        unexpected=unexpected,
    )


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is to become of each key of the backbone."""

    loaded: list[str]
    drawn: list[str]
    reset: list[str]
    kept: list[str]
    left: list[str]


def _plan(weights: Weights, model: Classifier) -> _Plan:
    first, others = _split_keys(weights, model)
    plan = _Plan(loaded=[], drawn=[], reset=[], kept=[], left=[])
    for key in first:
        bare = weights.norms == "reset" and kind_of(model, key) == "norm"
        (plan.reset if bare else plan.loaded).append(key)
    if weights.rest == "random":
        plan.left.extend(others)
        return plan
    for key in others:
        match kind_of(model, key):
            case "weight":
                plan.drawn.append(key)
            case "norm":
                plan.reset.append(key)
            case "table":
                (plan.kept if weights.tables == "keep" else plan.drawn).append(key)
    return plan


def _split_keys(weights: Weights, model: Classifier) -> tuple[list[str], list[str]]:
    """The state-dict keys of the blocks that receive the source's values, and of the other blocks."""
    blocks = models.blocks(model, model.network.grain)
    slim = model.network.slim
    wide = len(blocks) if slim is None else min(slim, len(blocks))
    count = wide if weights.blocks is None else weights.blocks
    if not 0 <= count <= len(blocks):
        raise ValueError(f"blocks is {count}, but '{model.network.model}' as it is cut here has {len(blocks)} blocks")
    keys = [models.block_keys(model, block) for block in blocks]
    return [key for block in keys[:count] for key in block], [key for block in keys[count:] for key in block]


def _check_fit(weights: Weights, model: Classifier, given: State, asked: list[str]) -> tuple[str, ...]:
    """What the source holds beside a backbone, which its contract must allow."""
    wrong = misfits(model, given, asked)
    if wrong:
        raise ValueError(
            f"source '{weights.source}' does not fit '{model.network.model}': of the tensors asked of it "
            f"{wrong}; name a source made with this model, or copy fewer blocks"
        )
    whole = _whole_names(model)
    foreign = tuple(name for name in _plain(given) if name not in whole)
    strange = [name for name in foreign if not name.startswith(heads_of(weights.source))]
    if strange:
        raise ValueError(
            f"source '{weights.source}' does not fit '{model.network.model}': it holds {len(strange)} tensors that "
            f"the model has not ({shown(strange)}); name a source made with this model"
        )
    return foreign


def _whole_names(model: Classifier) -> frozenset[str]:
    """The names of the tensors that the model's backbone has before it is cut."""
    network = model.network
    if network.depth is None:
        return frozenset(model.backbone.state_dict())
    return _names_of(replace(network, depth=None, slim=None, head="pool"))


@lru_cache(maxsize=64)
def _names_of(network: Network) -> frozenset[str]:
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return frozenset(models.build(network, classes=1).backbone.state_dict())


def _filled(report: LoadReport, first: str) -> LoadReport:
    """The report after the first convolution's weight was filled, whatever had become of it before."""
    others = {
        each: tuple(name for name in getattr(report, each) if name != first)
        for each in ("loaded", "drawn", "left", "reshaped")
    }
    return replace(report, **others, filled=(first,))


def _plain(keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(key.removeprefix(_PREFIX) for key in keys)
