"""What each value of a cell must be, whatever data sets and models there are: kind, range, and what excludes what.

`grid.check` asks it of every cell; names and impossible combinations are the rooms' to judge (`problems.py`).
"""

from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from sweeper.cell import AXES, Cell, Gabor, Images, LrSearch, Recipe, Weights


def value_problems(cell: Cell) -> Iterator[str]:
    """What is wrong with the values of a cell, each in one sentence."""
    for part in (cell.images, cell.network, cell.weights, cell.recipe):
        yield from _part_problems(part)
    if not _RULES["seed"][0](cell.seed):
        yield f"seed is {cell.seed!r}; it must be {_RULES['seed'][1]}"


def nearest(name: object, choices: Iterable[str]) -> str:
    """The end of an error sentence: the right names nearest to a wrong one, or all of them."""
    known = sorted(choices)
    close = get_close_matches(str(name), known, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known)}"


def is_int(value: Any) -> bool:
    """Whether it is a whole number; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether it is a number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_positive(value: Any) -> bool:
    return is_number(value) and 0 < value < float("inf")


def _whole(low: int, high: int | None = None) -> tuple[Callable[[Any], bool], str]:
    if high is None:
        return lambda value: is_int(value) and value >= low, f"a whole number from {low}"
    return lambda value: is_int(value) and low <= value <= high, f"a whole number from {low} to {high}"


def _or_none(rule: tuple[Callable[[Any], bool], str]) -> tuple[Callable[[Any], bool], str]:
    return lambda value: value is None or rule[0](value), f"{rule[1]}, or None"


def _one_of(*names: str) -> tuple[Callable[[Any], bool], str]:
    return lambda value: value in names, " or ".join(f"'{name}'" for name in names)


_Rule = tuple[Callable[[Any], bool], str]
_NAME: _Rule = (lambda value: isinstance(value, str) and bool(value), "a name")
_FROM_ZERO: _Rule = (lambda value: is_number(value) and 0 <= value < float("inf"), "a number from 0")
_POSITIVE: _Rule = (_is_positive, "a number above 0")
_SHARE: _Rule = (lambda value: is_number(value) and 0 <= value < 1, "a number from 0 and below 1")
_SWITCH: _Rule = (lambda value: isinstance(value, bool), "True or False")
_RULES: dict[str, _Rule] = {
    "dataset": _NAME,
    "fold": _whole(0, 5),
    "fraction": (lambda value: is_number(value) and 0 < value <= 1, "a share above 0 and up to 1"),
    "size": _whole(1),
    "augment": _NAME,
    "pixels": _NAME,
    "protocol": _NAME,
    "shots": _or_none(_whole(1)),
    "model": _NAME,
    "depth": _or_none(_whole(1)),
    "grain": _one_of("block", "layer"),
    "head": _one_of("pool", "flatten"),
    "head_start": _one_of("uniform", "kaiming"),
    "dropout": _SHARE,
    "width": _or_none(_whole(1)),
    "slim": _or_none(_whole(0)),
    "slim_factor": _whole(1),
    "input": _one_of("rgb", "red", "sum"),
    "source": _NAME,
    "blocks": _or_none(_whole(0)),
    "rest": _one_of("random", "stats", "shuffle", "bootstrap", "fixed"),
    "norms": _one_of("copy", "reset"),
    "tables": _one_of("keep", "draw"),
    "gabor": (lambda value: value is None or isinstance(value, Gabor), "a Gabor, or None"),
    "lr": (lambda value: isinstance(value, LrSearch) or _is_positive(value), "a rate above 0, or an LrSearch"),
    "epochs": _whole(1),
    "batch_size": _whole(1),
    "optimizer": _one_of("adam", "adamw", "sgd", "lars"),
    "momentum": _SHARE,
    "nesterov": _SWITCH,
    "weight_decay": _FROM_ZERO,
    "scale_lr": _SWITCH,
    "schedule": _one_of("constant", "cosine", "onecycle", "multistep", "plateau"),
    "warmup": _FROM_ZERO,
    "warmup_steps": _whole(0),
    "lr_end": _FROM_ZERO,
    "milestones": (
        lambda value: isinstance(value, tuple) and all(is_int(each) and each >= 1 for each in value),
        "a tuple of whole numbers from 1",
    ),
    "factor": (lambda value: is_number(value) and 0 < value < 1, "a number above 0 and below 1"),
    "plateau": _whole(0),
    "lr_floor": _FROM_ZERO,
    "clip": _or_none(_POSITIVE),
    "loss": _one_of("cross_entropy", "bce", "focal"),
    "class_weights": (
        lambda value: (
            value in ("none", "balanced")
            or (isinstance(value, tuple) and value != () and all(map(_is_positive, value)))
        ),
        "'none', 'balanced' or a tuple of numbers above 0, one a class",
    ),
    "focal_gamma": _FROM_ZERO,
    "frozen": _whole(0),
    "frozen_norms": _one_of("fixed", "learn"),
    "backbone_decay": _POSITIVE,
    "head_epochs": _whole(0),
    "head_lr": _or_none(_POSITIVE),
    "head_patience": _or_none(_whole(1)),
    "head_monitor": _NAME,
    "validations": _whole(1),
    "monitor": _NAME,
    "patience": _or_none(_whole(1)),
    "amp": _one_of("off", "bf16", "fp16"),
    "seed": _whole(0),
}


@lru_cache(maxsize=4096)
def _part_problems(part: Any) -> tuple[str, ...]:
    found = [
        f"{axis} is {getattr(part, axis)!r}; it must be {_RULES[axis][1]}"
        for axis in type(part).__dataclass_fields__
        if not _RULES[axis][0](getattr(part, axis))
    ]
    if isinstance(part, Images) and not found and part.shots is not None and part.fraction != 1:
        found.append(f"fraction={part.fraction:g} and shots={part.shots} both say which images train: give one")
    if isinstance(part, Recipe) and not found:
        found += _recipe_problems(part)
    if isinstance(part, Weights) and isinstance(part.gabor, Gabor):
        found += _gabor_problems(part.gabor)
    return tuple(found)


def _recipe_problems(recipe: Recipe) -> Iterator[str]:
    if recipe.warmup >= recipe.epochs:
        yield f"warmup={recipe.warmup:g} leaves nothing of epochs={recipe.epochs} to train at the full rate"
    if recipe.warmup and recipe.warmup_steps:
        yield f"warmup={recipe.warmup:g} and warmup_steps={recipe.warmup_steps} are one warm-up: give one"
    if (recipe.schedule == "multistep") != bool(recipe.milestones):
        yield f"schedule '{recipe.schedule}' with milestones={recipe.milestones}: 'multistep', and it alone, needs some"
    if recipe.loss == "focal" and recipe.class_weights != "none":
        yield "loss 'focal' takes no class_weights; leave them out"
    yield from _peak_problems(recipe)
    search = recipe.lr
    if isinstance(search, LrSearch):
        yield from _search_problems(search)
        own_schedule = search.schedule == "constant" or search.method == "range_test"
        if is_int(search.epochs) and recipe.warmup >= (search.epochs or 1) and not own_schedule:
            yield f"warmup={recipe.warmup:g} leaves nothing of the search's epochs={search.epochs}"
        if search.method == "range_test" and recipe.head_epochs:
            yield f"a range test finds no rate after head_epochs={recipe.head_epochs}; use method='optuna' or 'grid'"


_LEAST_STRETCHES = 5
"""Of a range test: what its smoothed slope needs."""


def _peak_problems(recipe: Recipe) -> Iterator[str]:
    """What no rate of the recipe can come down to."""
    lowest = recipe.lr.low if isinstance(recipe.lr, LrSearch) else recipe.lr
    if not _is_positive(lowest):
        return  # named elsewhere
    peak = lowest * recipe.batch_size / 256 if recipe.scale_lr else lowest
    if recipe.schedule in ("cosine", "onecycle") and recipe.lr_end > peak:
        yield f"lr_end={recipe.lr_end:g} lies above {peak:g}, the lowest peak that '{recipe.schedule}' may fall from"
    if recipe.lr_floor > peak:
        yield f"lr_floor={recipe.lr_floor:g} lies above {peak:g}, the lowest peak: training would end at once"


def _search_problems(search: LrSearch) -> Iterator[str]:
    if not (_is_positive(search.low) and _is_positive(search.high) and search.low < search.high):
        yield f"LrSearch goes from {search.low} to {search.high}; it needs 0 < low < high"
    if not (is_int(search.trials) and search.trials >= 1):
        yield f"LrSearch has trials={search.trials!r}; it must be a whole number from 1"
    if search.epochs is not None and not (is_int(search.epochs) and search.epochs >= 1):
        yield f"LrSearch has epochs={search.epochs!r}; it must be a whole number from 1, or None"
    if search.method not in ("optuna", "grid", "range_test"):
        yield f"LrSearch has method={search.method!r}; it must be 'optuna', 'grid' or 'range_test'"
    elif search.method == "range_test" and is_int(search.trials) and is_int(search.epochs or 1):
        if search.trials < _LEAST_STRETCHES:
            yield f"LrSearch has trials={search.trials}; a range test needs at least {_LEAST_STRETCHES} stretches"
        elif search.trials % (search.epochs or 1):
            yield f"the trials={search.trials} of a range test cannot be shared out evenly over epochs={search.epochs}"
    if search.schedule not in ("recipe", "constant"):
        yield f"LrSearch has schedule={search.schedule!r}; it must be 'recipe' or 'constant'"
    for axis in search.share:
        if axis not in AXES or axis == "lr":
            yield f"LrSearch shares the axis '{axis}', which is unknown; {nearest(axis, set(AXES) - {'lr'})}"


def _gabor_problems(bank: Gabor) -> Iterator[str]:
    if not (is_int(bank.orientations) and bank.orientations >= 1):
        yield f"Gabor has orientations={bank.orientations!r}; it must be a whole number from 1"
    if not (bank.wavelengths and all(map(_is_positive, bank.wavelengths))):
        yield f"Gabor has wavelengths={bank.wavelengths}; they must be numbers above 0"
    if not (bank.phases and all(map(is_number, bank.phases))):
        yield f"Gabor has phases={bank.phases}; they must be degrees"
    known = ("grey", "red_green", "blue_yellow")
    if not bank.colours or set(bank.colours) - set(known):
        yield f"Gabor has colours={bank.colours}; there are {', '.join(known)}"
    for name in ("bandwidth", "aspect"):
        if not _is_positive(getattr(bank, name)):
            yield f"Gabor has {name}={getattr(bank, name)!r}; it must be a number above 0"
