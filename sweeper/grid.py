"""The language of search spaces: `grid()` spans cells, a `Sweep` names them, `load()` reads them, `check()` judges.

It judges values only; whether a data set or a model exists is asked of the rooms that own those names.
"""

import itertools
import re
import runpy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sweeper.cell import AXES, NEUTRAL, TUPLES, Cell, Gabor, LrSearch, Probe, make_cell
from sweeper.probe_rules import probe_problems
from sweeper.rules import is_int, is_number, nearest, value_problems


class StudyError(ValueError):
    """What is wrong with a study file, as sentences for the person who wrote it."""


Choose = Callable[[list[dict[str, Any]]], Iterable[Cell]]
"""Rows of finished cells -> the cells of the next sweep."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Cells that are run together under one name, and how many devices help."""

    name: str
    """The study's name: MLflow experiment, folder of results; letters, digits, `_`, `-`, `.`."""
    cells: Sequence[Cell] = ()
    """Equal cells count once."""
    after: "Sweep | None" = None
    """A sweep that stands earlier in the file, whose finished cells tell which cells this one has."""
    choose: Choose | None = None
    """Instead of `cells`: makes them of the rows of `after`, once all of it is finished. A row is a dict of a cell's
    `key`, axes, `lr_found`, `best_epoch`, `epochs_run` and `best_val_...`, and tells nothing of the test part. Equal
    rows, which come in the order of the cells, must give equal cells."""
    probes: Sequence[Probe] = ()
    gpus_per_cell: float | Literal["auto"] | None = None
    """Devices a worker holds: part of one, or whole ones. None is one GPU where the cluster has any when the sweep
    begins, else none: where nodes with GPUs come after others, say a number. `auto`: the share at which cells together
    see the most images a second, measured on the GPU before the sweep's first cell."""
    workers_per_cell: int = 1
    """Processes that train one cell together; the batch size stays the recipe's."""
    allow_leakage: str | None = None
    """Why a patient, an image or a near-duplicate may stand in two parts; None refuses to train then. The reason is
    kept with the study, beside what was found."""
    register: str | None = None
    """Name in the MLflow model registry under which every finished cell's best state becomes a version."""

    def __post_init__(self) -> None:
        distinct = dict.fromkeys(self.cells)
        if wrong := [*_lists(self.probes)]:  # a probe is a value, which no list is
            raise StudyError("\n".join(wrong))
        object.__setattr__(self, "cells", tuple(distinct))
        object.__setattr__(self, "probes", tuple(dict.fromkeys(self.probes)))


def _lists(probes: Sequence[Probe]) -> Iterator[str]:
    for probe in probes:
        for name, value in vars(probe).items():
            if isinstance(value, list | set | dict):
                yield f"probe {probe.name}: {name} is {value!r}; give one value, or a tuple where it takes several"


def grid(**axes: Any) -> list[Cell]:
    """Every combination of the axes, the last one turning fastest.

    A list, tuple, range or array is an axis; anything else is one fixed value, and so is a tuple of numbers where an
    axis takes several (`milestones`, `class_weights`). `source` also takes a cell, whose trained state is then the
    source.

    Raises:
        StudyError: naming every unknown axis with the nearest right ones, an empty axis, or a missing required axis.
    """
    wrong = [f"axis '{axis}' is unknown; {nearest(axis, AXES)}" for axis in axes if axis not in AXES]
    wrong += [f"axis '{axis}' is required" for axis in AXES if axis not in axes and axis not in NEUTRAL]
    values = {axis: _choices(axis, value) for axis, value in axes.items()}
    wrong += [f"axis '{axis}' has no values" for axis, choices in values.items() if not choices]
    wrong += [
        f"axis '{axis}' has the value {value}; a value is a name, a number, None, an LrSearch or a Gabor"
        for axis, choices in values.items()
        for value in choices
        if not (isinstance(value, str | int | float | LrSearch | Gabor | None) or _is_several(axis, value))
    ]
    if wrong:
        raise StudyError("\n".join(wrong))
    return [make_cell(**dict(zip(values, point, strict=True))) for point in itertools.product(*values.values())]


def load(path: str | Path, *, small: bool = False) -> list[Sweep]:
    """The sweeps that a study file ends in, in order: `sweep = ...` or `sweeps = [...]`.

    Args:
        small: give those of `small = [...]` instead, the same study in a form that any machine can run.

    Raises:
        StudyError: when there is no such file, or it declares none, or both `sweep` and `sweeps`.
    """
    if not Path(path).is_file():
        raise StudyError(f"there is no study file '{path}'")
    names = runpy.run_path(str(path))
    match (None, names.get("small")) if small else (names.get("sweep"), names.get("sweeps")):
        case Sweep() as sweep, None:
            return [sweep]
        case None, [*sweeps] if sweeps and all(isinstance(each, Sweep) for each in sweeps):
            return sweeps
    if small:
        raise StudyError(f"{path} has no small form: `small = [Sweep(...), ...]`")
    raise StudyError(f"{path} must end in `sweep = Sweep(...)` or `sweeps = [Sweep(...), ...]`, one of them")


def from_feature_reuse_json(path: str | Path, *, augment: str | None = None) -> Cell:
    """The cell that a JSON file in the form of Matsoukas et al. 2022 describes: see `feature_reuse_json`."""
    from sweeper import feature_reuse_json  # it knows models by name, which lie above this floor

    return feature_reuse_json.from_feature_reuse_json(path, augment=augment)


def check(
    sweeps: Iterable[Sweep],
    problems: Callable[[Cell], Iterable[str]],
    asked: Callable[[Sequence[Probe], Cell], Iterable[str]] = lambda probes, cell: (),
) -> None:
    """Judges every value of the sweeps.

    Args:
        problems: says what the rooms know to be wrong with a cell whose values are otherwise sound.
        asked: ... and with probes of it.

    Raises:
        StudyError: one message with every distinct mistake and the number of cells that have it.
    """
    mistakes: Counter[str] = Counter()
    earlier: dict[str, Sweep] = {}
    for sweep in sweeps:
        mistakes.update(f"sweep '{sweep.name}': {problem}" for problem in _sweep_problems(sweep, earlier))
        earlier[sweep.name] = sweep
        for cell in sweep.cells:
            mistakes.update(list(value_problems(cell)) or list(problems(cell)) or asked(sweep.probes, cell))
    if mistakes:
        lines = [f"{text} ({number} cells)" if number > 1 else text for text, number in mistakes.items()]
        raise StudyError("\n".join(lines))


def source_key(cell: Cell) -> str | None:
    """The key of the cell whose trained state this cell starts from, if it starts from one."""
    kind, _, key = cell.weights.source.partition(":")
    return key if kind == "cell" else None


def _is_several(axis: str, value: Any) -> bool:
    return axis in TUPLES and isinstance(value, tuple) and all(map(is_number, value))


def _choices(axis: str, value: Any) -> list[Any]:
    if _is_several(axis, value):
        return [value]
    if hasattr(value, "tolist"):  # numpy's arrays and numbers
        value = value.tolist()
    return [_named(each) for each in (value if isinstance(value, list | tuple | range) else [value])]


def _named(value: Any) -> Any:
    return f"cell:{value.key}" if isinstance(value, Cell) else value


def _sweep_problems(sweep: Sweep, earlier: Mapping[str, Sweep]) -> Iterator[str]:
    for name in filter(None, (sweep.name, sweep.register)):
        if not re.fullmatch(r"[\w.-]{1,100}", name):
            yield f"the name '{name}' may hold only letters, digits, '_', '-' and '.', at most 100"
    if sweep.name in earlier:
        yield "two sweeps of one file have this name"
    if not sweep.cells and sweep.choose is None:
        yield "it has no cells"
    if sweep.cells and sweep.choose is not None:
        yield "it has cells and chooses cells; leave one out"
    if (sweep.choose is None) != (sweep.after is None):
        yield "choose and after go together: a function, and the sweep whose rows it takes"
    if sweep.after is not None and earlier.get(sweep.after.name) is not sweep.after:
        yield f"it comes after '{sweep.after.name}', which must stand before it in `sweeps`"
    if not (is_int(sweep.workers_per_cell) and sweep.workers_per_cell >= 1):
        yield f"workers_per_cell is {sweep.workers_per_cell}; it must be a whole number from 1"
    why = sweep.allow_leakage
    if not (why is None or (isinstance(why, str) and why.strip())):
        yield f"allow_leakage is {why!r}; it must be the reason, in words, or None"
    gpus = sweep.gpus_per_cell
    if not (gpus is None or gpus == "auto" or (is_number(gpus) and gpus >= 0)):
        yield f"gpus_per_cell is {gpus!r}; it must be a number from 0, 'auto' or None"
    elif isinstance(gpus, float) and gpus > 1 and not gpus.is_integer():
        yield f"gpus_per_cell is {gpus!r}; above 1 it must be a whole number, since a device is shared or held whole"
    if gpus == "auto" and sweep.workers_per_cell != 1:
        yield "gpus_per_cell='auto' is measured for cells of one worker; give a number with workers_per_cell"
    yield from probe_problems(sweep.probes, sweep.cells)
