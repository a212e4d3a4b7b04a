"""The record of a study as data frames: one row per cell, epoch, image or probed block, always in the same order.

Column names are the axes of a cell and MLflow's own names of its metrics. Nothing is computed or rounded here.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar, get_args, get_origin, get_type_hints

import pandas as pd

from sweeper import store
from sweeper.cell import AXES, PARTS, Cell, LrSearch, Probe
from sweeper.site import Site

if TYPE_CHECKING:
    from mlflow.entities import Run

CELL_METRICS = ("best_val_", "test_", "best_epoch", "epochs_run", "total_seconds")
"""How the names begin of the numbers that a cell has once; the others are curves and stand in `epochs`."""


@dataclass(frozen=True, kw_only=True)
class _Record:
    """A finished cell and its run."""

    cell: Cell
    run: "Run"

    @property
    def key(self) -> str:
        return self.run.data.tags[store.KEY]


def runs(study: str, site: Site | None = None) -> pd.DataFrame:
    """One row per finished cell, sorted by its axes.

    Columns: `study`, `key`, every axis (a searched rate as `lr_low`, `lr_high`, ...), `lr_found`, the metrics of the
    cell, `fingerprint` (of images and labels), `commit`, `run_id`. Whole numbers that may be missing are `Int64`.

    Raises:
        LookupError: when there is no such study.
        ValueError: when a cell has two finished runs.
    """
    return _run_rows(study, _records(study, site or Site.from_environment()))


def epochs(study: str, site: Site | None = None) -> pd.DataFrame:
    """One row per finished cell and epoch: `study`, `key`, the axes, `epoch`, its losses, scores, rate and seconds."""
    site = site or Site.from_environment()
    records = _records(study, site)
    pieces = [_of_cell(record, site, "epochs.parquet") for record in records]
    return _joined(study, _axes_frame(records), pieces)


def predictions(study: str, site: Site | None = None) -> pd.DataFrame:
    """One row per finished cell and image, with only those axes that vary in the study, for there are many rows.

    Columns: `study`, `key`, the varying axes, `image`, `patient`, `part`, `label`, `score_0`, `score_1`, ... (missing
    where another cell of the study has more classes).
    """
    site = site or Site.from_environment()
    records = _records(study, site)
    pieces = [_of_cell(record, site, "predictions.parquet") for record in records]
    axes = _axes_frame(records)
    return _joined(study, axes[["key", *varying(axes)]], pieces)


def probes(study: str, site: Site | None = None) -> pd.DataFrame:
    """One row per finished cell, probe, block (from 1) and metric; no rows where nothing was probed.

    Columns: `study`, `key`, the axes, `probe`, `probe_key`, the settings of the probes, `block` (missing where a number
    is the whole model's), `metric`, `value`. Where probes compare, also `other`, the key of a pair's second cell
    (missing where a cell is compared with itself), and `other_block`, the block that `block` is compared with.
    """
    site = site or Site.from_environment()
    records = _records(study, site)
    pieces = [_of_cell(record, site, name) for record in records for name in _probe_files(record)]
    rows = _joined(study, _axes_frame(records), pieces)
    settings = {name: kind for name, kind in _probe_types().items() if name in rows}
    settings |= {name: kind for name, kind in {"other": "str", "other_block": "Int64"}.items() if name in rows}
    if not pieces:
        return rows
    settings["block"] = "Int64" if rows["block"].isna().any() else "int64"
    last = ["probe", "probe_key", *(name for name in settings if name != "block"), "block", "metric", "value"]
    return rows[[*(name for name in rows if name not in last), *last]].astype(settings)


def axes_of(frame: pd.DataFrame) -> list[str]:
    """The columns of a frame that are axes of its cells."""
    return [name for name in _axis_types() if name in frame]


def varying(frame: pd.DataFrame) -> list[str]:
    """The axes that have more than one value in a frame; a missing value counts as one."""
    return [name for name in axes_of(frame) if frame[name].nunique(dropna=False) > 1]


def _records(study: str, site: Site) -> list[_Record]:
    """The finished cells sorted by their axes; runs that are no cell's (logged by hand) are not looked at."""
    found = [run for run in store.runs(site, study) if store.KEY in run.data.tags]
    records = [_Record(cell=Cell.from_json(run.data.tags[store.CELL]), run=run) for run in found]
    twice = [key for key, number in Counter(record.key for record in records).items() if number > 1]
    if twice:
        raise ValueError(
            f"study '{study}' has more than one finished run of cell {min(twice)} at {site.tracking}; "
            "delete all but one of them in MLflow"
        )
    frame = _axes_frame(records)
    order = frame.sort_values([*axes_of(frame), "key"]).index
    return [records[position] for position in order]


def _run_rows(study: str, records: Sequence[_Record]) -> pd.DataFrame:
    frame = _axes_frame(records)
    frame.insert(0, "study", pd.Series(study, index=frame.index, dtype="str"))
    tags = [record.run.data.tags for record in records]
    frame["lr_found"] = pd.Series([float(tag[store.LR_FOUND]) for tag in tags], dtype="float64")
    numbers = [record.run.data.metrics for record in records]
    for name in _cell_metrics(numbers):
        kind = "int64" if name in ("best_epoch", "epochs_run") else "float64"
        frame[name] = pd.Series([each.get(name) for each in numbers], dtype="float64").astype(kind)
    for name in ("fingerprint", "commit"):
        frame[name] = pd.Series([tag[f"sweeper.{name}"] for tag in tags], dtype="str")
    frame["run_id"] = pd.Series([record.run.info.run_id for record in records], dtype="str")
    return frame


def _cell_metrics(numbers: Iterable[dict[str, float]]) -> list[str]:
    """Metric names in the order of `CELL_METRICS`, then by name."""
    known = sorted(set[str]().union(*numbers))
    return [name for start in CELL_METRICS for name in known if name.startswith(start)]


def axes_frame(cells: Sequence[Cell]) -> pd.DataFrame:
    """Every axis of some cells, typed, in the order of a cell's parts; a rate search's last, where there is one."""
    rows = [cell.row() for cell in cells]
    used = set(AXES).union(*rows)
    types = {name: kind for name, kind in _axis_types().items() if name in used}
    columns = {name: pd.Series([_plain(row.get(name)) for row in rows], dtype=object) for name in types}
    return pd.DataFrame(columns).astype(types)


def _axes_frame(records: Sequence[_Record]) -> pd.DataFrame:
    """`key` and every axis, typed."""
    frame = axes_frame([record.cell for record in records])
    frame.insert(0, "key", pd.Series([record.key for record in records], index=frame.index, dtype="str"))
    return frame


def _axis_types() -> dict[str, str]:
    """Axis -> type of its column, read off the fields of a cell."""
    hints = {name: kind for part in (*PARTS.values(), Cell) for name, kind in get_type_hints(part).items()}
    search = {f"lr_{name}": kind | None for name, kind in get_type_hints(LrSearch).items()}
    return {name: _column_type(kind) for name, kind in hints.items() if name in AXES} | {
        name: _column_type(kind) for name, kind in search.items()
    }


def _probe_types() -> dict[str, str]:
    """Setting of a probe -> type of its column."""
    hints = {name: kind for probe in get_args(Probe) for name, kind in get_type_hints(probe).items()}
    hints = {name: kind for name, kind in hints.items() if get_origin(kind) is not ClassVar}
    return {name: _column_type(kind | None) for name, kind in hints.items()}


def _column_type(hint: Any) -> str:
    kinds = get_args(hint) or (hint,)
    if float in kinds and get_origin(hint) is not tuple:
        return "float64"
    if int in kinds and get_origin(hint) is not tuple:
        return "Int64" if NoneType in kinds else "int64"
    return "bool" if kinds == (bool,) else "str"


def _plain(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else value


def _probe_files(record: _Record) -> list[str]:
    mark = f"{store.PROBE}."
    stored = {name.removeprefix(mark): value for name, value in record.run.data.tags.items() if name.startswith(mark)}
    return [f"probes/{probe}-{key}.parquet" for key, probe in sorted(stored.items(), key=lambda pair: pair[::-1])]


def _of_cell(record: _Record, site: Site, name: str) -> pd.DataFrame:
    """One stored table of a cell, with its key."""
    rows = pd.read_parquet(store.artifact(site, record.run.info.run_id, name))
    return rows.assign(key=record.key)


def _joined(study: str, axes: pd.DataFrame, pieces: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The pieces under one another, with `study`, `key` and the axes before their own columns."""
    stacked = pd.concat(pieces, ignore_index=True) if pieces else axes[["key"]].head(0)
    rows = axes.merge(stacked, on="key", how="right", validate="one_to_many")
    rows.insert(0, "study", pd.Series(study, index=rows.index, dtype="str"))
    return rows
