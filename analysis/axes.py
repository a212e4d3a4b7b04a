"""The axes of cells as typed columns, in the order of a cell's parts.

Nothing is read here.
"""

from collections.abc import Sequence
from functools import lru_cache
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import pandas as pd

from sweeper.cell import AXES, PARTS, Cell, LrSearch


def axes_of(frame: pd.DataFrame) -> list[str]:
    """The columns of a frame that are axes of its cells."""
    return [name for name in axis_types() if name in frame]


def varying(frame: pd.DataFrame) -> list[str]:
    """The axes that have more than one value in a frame; a missing value counts as one."""
    return [name for name in axes_of(frame) if frame[name].nunique(dropna=False) > 1]


def axes_frame(cells: Sequence[Cell]) -> pd.DataFrame:
    """Every axis of some cells, typed, in the order of a cell's parts; a rate search's last, where there is one."""
    rows = [cell.row() for cell in cells]
    used = set(AXES).union(*rows)
    types = {name: kind for name, kind in axis_types().items() if name in used}
    columns = {name: pd.Series([_plain(row.get(name)) for row in rows], dtype=object) for name in types}
    return pd.DataFrame(columns).astype(types)


@lru_cache
def axis_types() -> dict[str, str]:
    """Axis -> type of its column, read off the fields of a cell; those of a rate search, as `lr_low`, last."""
    hints = {name: kind for part in (*PARTS.values(), Cell) for name, kind in get_type_hints(part).items()}
    search = {f"lr_{name}": kind | None for name, kind in get_type_hints(LrSearch).items()}
    return {name: column_type(kind) for name, kind in hints.items() if name in AXES} | {
        name: column_type(kind) for name, kind in search.items()
    }


def column_type(hint: Any) -> str:
    """The type of a column that holds values of a field."""
    kinds = get_args(hint) or (hint,)
    if float in kinds and get_origin(hint) is not tuple:
        return "float64"
    if int in kinds and get_origin(hint) is not tuple:
        return "Int64" if NoneType in kinds else "int64"
    return "bool" if kinds == (bool,) else "str"


def _plain(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else value
