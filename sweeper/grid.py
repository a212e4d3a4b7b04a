"""The language of search spaces: `grid()` spans cells, a `Sweep` names them, `load()` reads them, `check()` judges.

It judges values only; whether a data set or a model exists is asked of the rooms that own those names.
"""

import itertools
import re
import runpy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

from sweeper.cell import AXES, NEUTRAL, Cell, LrSearch, Probe, Recipe, make_cell


class StudyError(ValueError):
    """What is wrong with a study file, as sentences for the person who wrote it."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Cells that are run together under one name, and how many devices help."""

    name: str
    """The study's name: MLflow experiment, folder of results; letters, digits, `_`, `-`, `.`."""
    cells: Sequence[Cell]
    """Equal cells count once."""
    probes: Sequence[Probe] = ()
    gpus_per_cell: float | None = None
    """Devices a worker holds (fractions allowed); None is one GPU where the cluster has any, else none."""
    workers_per_cell: int = 1
    """Processes that train one cell together; the batch size stays the recipe's."""
    register: str | None = None
    """Name in the MLflow model registry under which every finished cell's best state becomes a version."""

    def __post_init__(self) -> None:
        distinct = dict.fromkeys(self.cells)
        object.__setattr__(self, "cells", tuple(distinct))
        object.__setattr__(self, "probes", tuple(dict.fromkeys(self.probes)))


def grid(**axes: Any) -> list[Cell]:
    """Every combination of the axes, the last one turning fastest.

    A list, tuple, range or array is an axis; anything else is one fixed value. `source` also takes a cell, whose
    trained state is then the source.

    Raises:
        StudyError: naming every unknown axis with the nearest right ones, an empty axis, or a missing required axis.
    """
    wrong = [f"axis '{axis}' is unknown; {nearest(axis, AXES)}" for axis in axes if axis not in AXES]
    wrong += [f"axis '{axis}' is required" for axis in AXES if axis not in axes and axis not in NEUTRAL]
    values = {axis: _choices(value) for axis, value in axes.items()}
    wrong += [f"axis '{axis}' has no values" for axis, choices in values.items() if not choices]
    wrong += [
        f"axis '{axis}' has the value {value}; a value is a name, a number, None or an LrSearch"
        for axis, choices in values.items()
        for value in choices
        if not isinstance(value, str | int | float | LrSearch | None)
    ]
    if wrong:
        raise StudyError("\n".join(wrong))
    return [make_cell(**dict(zip(values, point, strict=True))) for point in itertools.product(*values.values())]


def load(path: str | Path) -> list[Sweep]:
    """The sweeps that a study file ends in: `sweep = ...` or `sweeps = [...]`, in order.

    Raises:
        StudyError: when there is no such file, or it declares neither or both.
    """
    if not Path(path).is_file():
        raise StudyError(f"there is no study file '{path}'")
    names = runpy.run_path(str(path))
    match names.get("sweep"), names.get("sweeps"):
        case Sweep() as sweep, None:
            return [sweep]
        case None, [*sweeps] if sweeps and all(isinstance(each, Sweep) for each in sweeps):
            return sweeps
    raise StudyError(f"{path} must end in `sweep = Sweep(...)` or `sweeps = [Sweep(...), ...]`, one of them")


def check(sweeps: Iterable[Sweep], problems: Callable[[Cell], Iterable[str]]) -> None:
    """Judges every value of the sweeps.

    Args:
        problems: says what the rooms know to be wrong with a cell whose values are otherwise sound.

    Raises:
        StudyError: one message with every distinct mistake and the number of cells that have it.
    """
    mistakes: Counter[str] = Counter()
    earlier: set[str] = set()
    for sweep in sweeps:
        mistakes.update(f"sweep '{sweep.name}': {problem}" for problem in _sweep_problems(sweep, earlier))
        earlier.add(sweep.name)
        for cell in sweep.cells:
            mistakes.update(list(_value_problems(cell)) or problems(cell))
    if mistakes:
        lines = [f"{text} ({number} cells)" if number > 1 else text for text, number in mistakes.items()]
        raise StudyError("\n".join(lines))


def source_key(cell: Cell) -> str | None:
    """The key of the cell whose trained state this cell starts from, if it starts from one."""
    kind, _, key = cell.weights.source.partition(":")
    return key if kind == "cell" else None


def nearest(name: object, choices: Iterable[str]) -> str:
    """The end of an error sentence: the right names nearest to a wrong one, or all of them."""
    known = sorted(choices)
    close = get_close_matches(str(name), known, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known)}"


def _choices(value: Any) -> list[Any]:
    if hasattr(value, "tolist"):  # numpy's arrays and numbers
        value = value.tolist()
    return [_named(each) for each in (value if isinstance(value, list | tuple | range) else [value])]


def _named(value: Any) -> Any:
    return f"cell:{value.key}" if isinstance(value, Cell) else value


def _sweep_problems(sweep: Sweep, earlier: set[str]) -> Iterator[str]:
    for name in filter(None, (sweep.name, sweep.register)):
        if not re.fullmatch(r"[\w.-]{1,100}", name):
            yield f"the name '{name}' may hold only letters, digits, '_', '-' and '.', at most 100"
    if sweep.name in earlier:
        yield "two sweeps of one file have this name"
    if not sweep.cells:
        yield "it has no cells"
    if not (_is_int(sweep.workers_per_cell) and sweep.workers_per_cell >= 1):
        yield f"workers_per_cell is {sweep.workers_per_cell}; it must be a whole number from 1"
    if sweep.gpus_per_cell is not None and not (_is_number(sweep.gpus_per_cell) and sweep.gpus_per_cell >= 0):
        yield f"gpus_per_cell is {sweep.gpus_per_cell}; it must be a number from 0, or None"


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_positive(value: Any) -> bool:
    return _is_number(value) and 0 < value < float("inf")


def _whole(low: int, high: int | None = None) -> tuple[Callable[[Any], bool], str]:
    if high is None:
        return lambda value: _is_int(value) and value >= low, f"a whole number from {low}"
    return lambda value: _is_int(value) and low <= value <= high, f"a whole number from {low} to {high}"


def _or_none(rule: tuple[Callable[[Any], bool], str]) -> tuple[Callable[[Any], bool], str]:
    return lambda value: value is None or rule[0](value), f"{rule[1]}, or None"


def _one_of(*names: str) -> tuple[Callable[[Any], bool], str]:
    return lambda value: value in names, " or ".join(f"'{name}'" for name in names)


_NAME = (lambda value: isinstance(value, str) and bool(value), "a name")
_FROM_ZERO = (lambda value: _is_number(value) and 0 <= value < float("inf"), "a number from 0")
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "dataset": _NAME,
    "fold": _whole(0, 5),
    "fraction": (lambda value: _is_number(value) and 0 < value <= 1, "a share above 0 and up to 1"),
    "size": _whole(1),
    "augment": _NAME,
    "model": _NAME,
    "depth": _or_none(_whole(1)),
    "grain": _one_of("block", "layer"),
    "source": _NAME,
    "blocks": _or_none(_whole(0)),
    "rest": _one_of("random", "stats"),
    "lr": (lambda value: isinstance(value, LrSearch) or _is_positive(value), "a rate above 0, or an LrSearch"),
    "epochs": _whole(1),
    "batch_size": _whole(1),
    "optimizer": _one_of("adam", "adamw", "sgd"),
    "weight_decay": _FROM_ZERO,
    "schedule": _one_of("constant", "cosine"),
    "warmup": _FROM_ZERO,
    "frozen": _whole(0),
    "patience": _or_none(_whole(1)),
    "amp": _one_of("off", "bf16"),
    "seed": _whole(0),
}


def _value_problems(cell: Cell) -> Iterator[str]:
    for part in (cell.images, cell.network, cell.weights, cell.recipe):
        yield from _part_problems(part)
    if not _RULES["seed"][0](cell.seed):
        yield f"seed is {cell.seed!r}; it must be {_RULES['seed'][1]}"


@lru_cache(maxsize=4096)
def _part_problems(part: Any) -> tuple[str, ...]:
    found = [
        f"{axis} is {getattr(part, axis)!r}; it must be {_RULES[axis][1]}"
        for axis in type(part).__dataclass_fields__
        if not _RULES[axis][0](getattr(part, axis))
    ]
    if isinstance(part, Recipe) and not found:
        found += _recipe_problems(part)
    return tuple(found)


def _recipe_problems(recipe: Recipe) -> Iterator[str]:
    if recipe.warmup >= recipe.epochs:
        yield f"warmup={recipe.warmup:g} leaves nothing of epochs={recipe.epochs} to train at the full rate"
    search = recipe.lr
    if isinstance(search, LrSearch):
        yield from _search_problems(search)
        if _is_int(search.epochs) and recipe.warmup >= (search.epochs or 1):
            yield f"warmup={recipe.warmup:g} leaves nothing of the search's epochs={search.epochs}"


def _search_problems(search: LrSearch) -> Iterator[str]:
    if not (_is_positive(search.low) and _is_positive(search.high) and search.low < search.high):
        yield f"LrSearch goes from {search.low} to {search.high}; it needs 0 < low < high"
    if not (_is_int(search.trials) and search.trials >= 1):
        yield f"LrSearch has trials={search.trials!r}; it must be a whole number from 1"
    if search.epochs is not None and not (_is_int(search.epochs) and search.epochs >= 1):
        yield f"LrSearch has epochs={search.epochs!r}; it must be a whole number from 1, or None"
    if search.method not in ("optuna", "grid"):
        yield f"LrSearch has method={search.method!r}; it must be 'optuna' or 'grid'"
    for axis in search.share:
        if axis not in AXES or axis == "lr":
            yield f"LrSearch shares the axis '{axis}', which is unknown; {nearest(axis, set(AXES) - {'lr'})}"
