"""Whether what the files of a finished cell hold can be read, and agrees with what MLflow recorded of it.

Sizes and hashes are `work`'s business, and what follows from a contradiction is `check`'s. torch, scikit-learn and
pandas are imported inside the functions.
"""

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from sweeper import store
from sweeper.cell import Cell
from sweeper.data import task_of
from sweeper.outcome import Outcome

if TYPE_CHECKING:
    import pandas as pd

SAME_SUM = 1e-9
"""Relative difference up to which a score computed again is the same. It is no 0, because another processor or version
of a library adds in another order, which moves a mean of a million terms by less."""
SAME_NLL = MappingProxyType({"off": 0.005, "bf16": 0.02, "fp16": 0.02})
"""Relative difference of the validation `nll` of images that went through the network twice, in batches of other sizes:
at most twice the difference of the logits. All of bfloat16 moved it by 0.002 (ViT-tiny, logits of +-30)."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What MLflow has of a finished cell."""

    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    """The last value of each."""
    curves: Mapping[str, Sequence[tuple[int, float]]]
    """Name -> step and value of each point, in the order of steps."""


def contradictions(path: Path, known: Known) -> list[str]:
    """What is wrong with the content of one of a finished cell's files, a sentence each, which begins with the path."""
    path.stat()  # a file that is away is not a torn one
    return _read(path, lambda: _LOOKS[path.name](path, known))


def unreadable_rows(path: Path) -> list[str]:
    """What keeps a table of rows, as a probe leaves it, from being read."""
    return _read(path, lambda: iter([] if len(_table(path)) else [f"{path} has no rows"]))


def cell_contradictions(place: Path | str, cell: Callable[[], Cell], key: str) -> list[str]:
    """What is wrong with a record that says which cell it is of.

    Args:
        cell: reads it.
        key: the right one.
    """
    return _read(place, lambda: _of_other_cell(place, cell(), key))


def _read(place: Path | str, look: Callable[[], Iterator[str]]) -> list[str]:
    """What `look` finds, or that the file cannot be made sense of; a disk that gives no bytes is raised."""
    from pyarrow import ArrowException
    from safetensors import SafetensorError

    try:
        return list(look())
    except (ArrowException, SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        said = str(error).strip().splitlines() or [type(error).__name__]
        return [f"{place} cannot be read: {said[0]}"]


def _of_other_cell(place: Path | str, cell: Cell, key: str) -> Iterator[str]:
    if cell.key != key:
        yield f"{place} is of cell {cell.key}, not of {key}"


def _look_at_state(path: Path, known: Known) -> Iterator[str]:
    """Every tensor is read: the state is this cell's, and without NaN."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        yield from _of_other_cell(path, Cell.from_json((file.metadata() or {})["cell"]), known.tags[store.KEY])
        broken = [name for name in file.keys() if file.get_tensor(name).isnan().any()]  # noqa: SIM118 (no mapping)
    if broken:
        yield f"{path} has NaN in tensor '{broken[0]}' and {len(broken) - 1} others"


def _look_at_predictions(path: Path, known: Known) -> Iterator[str]:
    """The test scores, and the validation part's `nll`.

    The predictions of the validation part are not those that were scored in training, but those of the same state in
    other batches. Where images are nearly tied, scores that count or rank jump with the last bit; `nll` does not.
    """
    from sweeper.finetune.metrics import score

    table = _table(path)
    scores = [str(name) for name in table if str(name).startswith("score_")]
    task = task_of(scores, "multilabel" if "label_0" in table else None)
    found = {part: score(rows, task, by_class=True) for part, rows in table.groupby("part")}
    again = {f"test_{name}": value for name, value in found["test"].items()}
    names = [name for name in known.metrics if name.startswith("test_")] or list(again)  # earlier versions had fewer
    for name in sorted(set(names) - set(again)):
        yield f"{path} gives no {name}, and MLflow has {known.metrics[name]!r}"
    yield from _differences(path, known, {name: again[name] for name in names if name in again}, SAME_SUM)
    amp = Cell.from_json(known.tags[store.CELL]).recipe.amp
    yield from _differences(path, known, {"best_val_nll": found["val"]["nll"]}, SAME_NLL[amp])


def _look_at_epochs(path: Path, known: Known) -> Iterator[str]:
    """Every epoch once, with the numbers of MLflow's curves, and the best one with those of the cell."""
    table = _table(path)
    metrics = known.metrics
    count = metrics.get("epochs_run", math.nan)
    if len(table) != count or list(table["epoch"]) != list(range(1, len(table) + 1)):
        yield f"{path} has {len(table)} epochs, which are not 1 to {count:g}"
        return
    for name in table.columns.drop("epoch"):
        if not _same_points(list(zip(table["epoch"], table[name], strict=True)), known.curves.get(name, ())):
            yield f"{path} has another {name} than MLflow's curve"
    best = table[table["epoch"] == metrics["best_epoch"]].iloc[0]
    scores = {f"best_{name}": float(value) for name, value in best.items() if str(name).startswith("val_")}
    yield from _differences(path, known, scores, 0.0)


def _look_at_outcome(path: Path, known: Known) -> Iterator[str]:
    """Every number and tag that MLflow has of the cell as a whole, the numbers once."""
    outcome = Outcome.from_json(path.read_text())
    yield from _of_other_cell(path, outcome.cell, known.tags[store.KEY])
    numbers = store.cell_numbers(outcome)
    yield from _differences(path, known, numbers, 0.0)
    for name in numbers:
        if len(known.curves.get(name, ())) > 1:
            yield f"{path} is of a cell that has {len(known.curves[name])} values of {name} in MLflow"
    for name, value in store.outcome_tags(outcome).items():
        if known.tags.get(name) != value:
            yield f"{path} has {name} {value}, and MLflow has {known.tags.get(name)}"


_LOOKS = MappingProxyType(
    {
        "best.safetensors": _look_at_state,
        "start.safetensors": _look_at_state,
        "predictions.parquet": _look_at_predictions,
        "epochs.parquet": _look_at_epochs,
        "outcome.json": _look_at_outcome,
    }
)


def _differences(path: Path, known: Known, found: Mapping[str, float], tolerance: float) -> Iterator[str]:
    """What MLflow has otherwise, or has not: NaN, which stands for an undefined score, is the same as NaN alone."""
    for name, value in found.items():
        recorded = known.metrics.get(name)
        if recorded is None or not _same(value, recorded, tolerance):
            known_as = "no such number" if recorded is None else repr(recorded)
            yield f"{path} gives {name} {value!r}, and MLflow has {known_as}"


def _same_points(points: Sequence[tuple[int, float]], others: Sequence[tuple[int, float]]) -> bool:
    """Whether two curves have the same steps and, to the last bit, the same values."""
    pairs = list(zip(points, others, strict=False))
    return len(points) == len(others) and all(a[0] == b[0] and _same(a[1], b[1], 0.0) for a, b in pairs)


def _same(value: float, other: float, tolerance: float) -> bool:
    return math.isclose(value, other, rel_tol=tolerance) or (math.isnan(value) and math.isnan(other))


def _table(path: Path) -> "pd.DataFrame":
    """The rows of a file; what fails after its bytes are there is its content."""
    import pandas as pd

    return pd.read_parquet(io.BytesIO(path.read_bytes()))
