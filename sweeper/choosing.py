"""What the finished cells of one sweep tell the next: it calls a study's `choose` and picks best rows on validation.

It reads nothing: `stages` brings the rows, in which nothing of the test part stands.
"""

import math
import traceback
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sweeper.axes import SHARED_AXES
from sweeper.cell import AXES, Cell
from sweeper.grid import StudyError, Sweep
from sweeper.rules import nearest

Row = Mapping[str, Any]


def with_cells(sweep: Sweep, rows: Iterable[Row]) -> Sweep:
    """The sweep with the cells that its `choose` makes of the finished rows of the sweep before it.

    Raises:
        StudyError: when the function fails, or returns anything but cells, at least one.
    """
    assert sweep.choose is not None, "such a sweep has its cells"
    name = getattr(sweep.choose, "__name__", "choose")
    try:
        cells = list(sweep.choose([dict(row) for row in rows]))
    except Exception as error:  # whatever a study's own function may do wrong
        place = _place(error, sweep)
        told = f"{type(error).__name__}: {error}"
        raise StudyError(f"sweep '{sweep.name}': its function {name} failed at {place} with {told}") from error
    strange = next((each for each in cells if not isinstance(each, Cell)), None)
    if strange is not None or not cells:
        given = f"{strange!r} among them" if cells else "none"
        raise StudyError(f"sweep '{sweep.name}': its function {name} must return cells, at least one; it gave {given}")
    return replace(sweep, cells=cells, choose=None, after=None)


def best_rows(
    rows: Iterable[Row],
    *,
    by: Sequence[str],
    score: str,
    over: Sequence[str] = SHARED_AXES,
    highest: bool = True,
) -> list[Row]:
    """For each combination of the axes `by`, in order, a row of the setting whose mean score is best.

    Cells that differ only in the axes `over` are one setting; of equal means the first setting is best, and its first
    row is given.

    Args:
        score: a column of the rows, such as `best_val_auroc`.
        highest: whether a higher score is better.

    Raises:
        ValueError: when the rows lack an axis or the score, or a score is NaN.
    """
    settings: dict[tuple, list[Row]] = defaultdict(list)
    for row in rows:
        _check_row(row, [*by, *over], score)
        settings[tuple(value for axis, value in row.items() if _is_axis(axis) and axis not in over)].append(row)
    best: dict[tuple, tuple[float, Row]] = {}
    for members in settings.values():
        group = tuple(members[0][axis] for axis in by)
        mean = math.fsum(row[score] for row in members) / len(members) * (1 if highest else -1)
        if group not in best or mean > best[group][0]:
            best[group] = mean, members[0]
    return [row for _, row in best.values()]


def _place(error: Exception, sweep: Sweep) -> str:
    """The last line of the study's own file that an error passed."""
    own = getattr(getattr(sweep.choose, "__code__", None), "co_filename", None)
    frames = traceback.extract_tb(error.__traceback__)
    last = next((each for each in reversed(frames) if each.filename == own), frames[-1])
    return f"{last.filename}:{last.lineno}"


def _check_row(row: Row, axes: Iterable[str], score: str) -> None:
    known = set(filter(_is_axis, row))
    for axis in axes:
        if axis not in known:
            raise ValueError(f"the rows have no axis '{axis}'; {nearest(axis, known)}")
    if score not in row:
        raise ValueError(f"the row of cell {row['key']} has no score '{score}'; {nearest(score, set(row) - known)}")
    if math.isnan(row[score]):
        raise ValueError(f"{score} of cell {row['key']} is NaN: nothing can be chosen by it")


def _is_axis(column: str) -> bool:
    """Whether a column of a row was declared; those of a rate search are called `lr_low`, `lr_high` and so on."""
    return column in AXES or (column.startswith("lr_") and column != "lr_found")
