"""The record of a study as data frames: one row per cell, epoch, image or probed block, always in the same order.

Column names are the axes of a cell and MLflow's own names of its metrics. Nothing is computed or rounded here. Of
cells, epochs and probes a columnar copy is kept beside MLflow (`snapshot`), so that only what is new or changed is read
again; predictions are read from the cells' own files, for a copy would double the largest part of the record.

`python -m analysis.frames STUDY [STUDY ...] OUT/` writes the frames as files (`export`).
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, get_args, get_origin, get_type_hints

import pandas as pd

from analysis import snapshot
from analysis.axes import axes_frame, axes_of, axis_types, column_type, varying
from analysis.cells import CELL_METRICS, Finished, finished, in_order
from analysis.stacked import stacked
from sweeper import store
from sweeper.cell import Probe, digest
from sweeper.site import Site

__all__ = ["CELL_METRICS", "axes_frame", "axes_of", "epochs", "predictions", "probes", "runs", "varying"]

Studies = str | Sequence[str]
"""The name of a study, or those of several, whose rows then stand under one another in this order."""


_SOMETIMES = {"other": "str", "other_block": "Int64", "device": "str"}
"""Columns of probe rows that only some probes have, and their types."""


def runs(study: Studies, site: Site | None = None) -> pd.DataFrame:
    """One row per finished cell, sorted by its axes within its study.

    Columns: `study`, `key`, every axis (a searched rate as `lr_low`, `lr_high`, ...), `lr_found`, the metrics of the
    cell, `fingerprint` (of images and labels), `commit`, `device` (missing in older records), `run_id`. Whole numbers
    that may be missing are `Int64`. What only some of several studies have is missing in the others.

    Raises:
        LookupError: when there is no such study.
        ValueError: when a cell has two finished runs in a study, or a study is named twice.
    """
    return _cells(_finished(study, site or Site.from_environment()))


def epochs(study: Studies, site: Site | None = None) -> pd.DataFrame:
    """One row per finished cell and epoch: `study`, `key`, the axes, `epoch`, its losses, scores, rate and seconds."""
    site = site or Site.from_environment()
    found = _finished(study, site)
    return _joined(_axes(found), [_epochs_of(each, site) for each in found])


def predictions(study: Studies, site: Site | None = None) -> pd.DataFrame:
    """One row per finished cell and image, with only those axes that vary among the cells, for there are many rows.

    Columns: `study`, `key`, the varying axes, `image`, `patient`, `part`, `label`, `score_0`, `score_1`, ... (missing
    where another cell has more classes).
    """
    site = site or Site.from_environment()
    found = _finished(study, site)
    axes = _axes(found)
    pieces = [
        _file(each, site, run_id, "predictions.parquet").assign(run_id=run_id)
        for each in found
        for run_id in each.rows["run_id"]
    ]
    return _joined(axes[["study", "key", *varying(axes), "run_id"]], pieces)


def probes(study: Studies, site: Site | None = None) -> pd.DataFrame:
    """One row per finished cell, probe, block (from 1) and metric; no rows where nothing was probed.

    Columns: `study`, `key`, the axes, `probe`, `probe_key`, the settings of the probes, `block` (missing where a number
    is the whole model's), `metric`, `value`. Where probes compare, also `other`, the key of a pair's second cell
    (missing where a cell is compared with itself), and `other_block`, the block that `block` is compared with. Where a
    time was taken, also `device`, the name of what took it.
    """
    site = site or Site.from_environment()
    found = _finished(study, site)
    rows = _joined(_axes(found), [_probes_of(each, site) for each in found])
    settings = {name: kind for name, kind in _probe_types().items() if name in rows}
    settings |= {name: kind for name, kind in _SOMETIMES.items() if name in rows}
    if "probe" not in rows:
        return rows
    settings["block"] = "Int64" if rows["block"].isna().any() else "int64"
    last = ["probe", "probe_key", *(name for name in settings if name != "block"), "block", "metric", "value"]
    return rows[[*(name for name in rows if name not in last), *last]].astype(settings)


def _finished(study: Studies, site: Site) -> list[Finished]:
    names = [study] if isinstance(study, str) else list(study)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"study '{twice[0]}' is named twice: name each study once")
    if not names:
        raise ValueError("the list of studies is empty: name at least one")
    return [finished(name, site) for name in names]


def _cells(found: Sequence[Finished]) -> pd.DataFrame:
    """The cells of all studies, typed, their columns in order."""
    if len(found) == 1:
        return found[0].rows
    rows = pd.concat([each.rows for each in found if len(each.rows)] or [found[0].rows], ignore_index=True)
    return rows[in_order(map(str, rows))].astype({name: kind for name, kind in axis_types().items() if name in rows})


def _axes(found: Sequence[Finished]) -> pd.DataFrame:
    """`study`, `key`, every axis and `run_id` of the cells."""
    rows = _cells(found)
    return rows[["study", "key", *axes_of(rows), "run_id"]]


def _epochs_of(cells: Finished, site: Site) -> pd.DataFrame:
    """A finished cell's file never changes; where its run does, it is read again."""
    stamps = {run_id: cells.places[run_id].stamp for run_id in cells.rows["run_id"]}
    return snapshot.refreshed(
        snapshot.path_of(site, cells.study, "epochs"),
        stamps,
        lambda run_ids: stacked({run_id: _path(cells, site, run_id, "epochs.parquet") for run_id in run_ids}),
    )


def _probes_of(cells: Finished, site: Site) -> pd.DataFrame:
    """A cell that was probed again has rows of another sha256."""
    probed = cells.probes()
    stamps = {run_id: digest(sorted(probed.get(run_id, {}).items())) for run_id in cells.rows["run_id"]}

    def read(run_id: str) -> pd.DataFrame:
        files = sorted((name, key) for key, (name, _) in probed.get(run_id, {}).items())
        pieces = [_file(cells, site, run_id, f"{store.PROBES}/{name}-{key}.parquet") for name, key in files]
        rows = pd.concat(pieces, ignore_index=True) if pieces else pd.DataFrame()
        return rows.assign(run_id=pd.Series(run_id, index=rows.index, dtype="str"))

    path = snapshot.path_of(site, cells.study, "probes")
    return snapshot.refreshed(path, stamps, lambda run_ids: [read(run_id) for run_id in run_ids])


def _file(cells: Finished, site: Site, run_id: str, name: str) -> pd.DataFrame:
    """One stored table of a cell; its key is left to `_joined`."""
    return pd.read_parquet(_path(cells, site, run_id, name)).drop(columns="key", errors="ignore")


def _path(cells: Finished, site: Site, run_id: str, name: str) -> Path:
    folder = store.local_path(cells.places[run_id].uri)
    return folder / name if folder else store.artifact(site, run_id, name)


def _joined(cells: pd.DataFrame, pieces: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The pieces under one another, behind the columns of their cells, which they name by `run_id`."""
    filled = [each for each in pieces if len(each)]
    if not filled:
        return cells.drop(columns="run_id").head(0)
    stacked = pd.concat(filled, ignore_index=True)
    places = pd.Index(cells["run_id"]).get_indexer(pd.Index(stacked["run_id"]))
    known = cells.drop(columns="run_id").take(places).reset_index(drop=True)
    return pd.concat([known, stacked.drop(columns="run_id")], axis="columns")


def _probe_types() -> dict[str, str]:
    """Setting of a probe -> type of its column."""
    hints = {name: kind for probe in get_args(Probe) for name, kind in get_type_hints(probe).items()}
    hints = {name: kind for name, kind in hints.items() if get_origin(kind) is not ClassVar}
    return {name: column_type(kind | None) for name, kind in hints.items()}


if __name__ == "__main__":
    from analysis.export import main

    sys.exit(main())
