"""The finished cells of a study as one typed frame: from the columnar copy as far as MLflow has not changed since.

What a cell left in files (epochs, predictions, probes) is the business of `frames`.

How a change is told, where MLflow's record is a SQLite file: every look reads the ids of all finished runs, with a
digest of the end and of the tags that the frame is made of, and the runs that have been given a number since the copy
was made, for MLflow only ever adds rows to its table of metrics. A run is read again when it is new, when its digest
is another one, or when a number was added; one that is deleted, or given up for another attempt, is not among the ids
any more. A tracking server has no such query: of it the whole study is read each time, and no copy of this is kept.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis import snapshot
from analysis.axes import axes_frame, axes_of, axis_types
from analysis.snapshot import Snapshot
from sweeper import cell_runs, store
from sweeper.cell import AXES, Cell, digest
from sweeper.cell_runs import CellRun, Place, Runs
from sweeper.site import Site

CELL_METRICS = ("best_val_", "test_", "best_epoch", "epochs_run", "total_seconds")
"""How the names begin of the numbers that a cell has once; the others are curves."""
_WHOLE = ("best_epoch", "epochs_run")
_TAGS = {"fingerprint": store.FINGERPRINT, "commit": "sweeper.commit", "device": store.DEVICE}
_NAMES = "metric_names"


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The finished cells of a study."""

    study: str
    rows: pd.DataFrame
    """One per cell, sorted by the axes, with the columns of `in_order`."""
    places: Mapping[str, Place]
    """Run id -> where the cell's files lie, and a stamp of its state."""
    probes: Callable[[], Mapping[str, Mapping[str, tuple[str, str]]]]
    """Run id -> key of each probe whose rows are stored -> its name and the sha256 of the rows; asked when needed."""


@dataclass(frozen=True, kw_only=True)
class _Changes:
    """What MLflow has now against a copy."""

    places: Mapping[str, Place]
    kept: Snapshot
    """The copy, of those runs alone that were given no number since."""
    fresh: Mapping[str, CellRun]
    """The runs that are new or changed."""
    last: tuple[int, str]
    """The newest number that MLflow had been given."""


def finished(study: str, site: Site) -> Finished:
    """The finished cells of a study.

    Raises:
        LookupError: when there is no such study.
        ValueError: when a cell has two finished runs.
    """
    if not site.tracking.startswith("sqlite:"):
        return _on_server(study, site)
    path = snapshot.path_of(site, study, "runs")
    form = digest([list(axis_types().items()), CELL_METRICS, list(_TAGS)])
    before = snapshot.load(path, form)
    with cell_runs.open_runs(site, study) as runs:  # left soon: as long as it is open, MLflow cannot write
        changes = _changes(runs, before)
    raw = _in_step(changes, path, form)

    def probes() -> dict[str, dict[str, tuple[str, str]]]:
        with cell_runs.open_runs(site, study) as runs:
            return runs.probes()

    return Finished(study=study, rows=_typed(study, site, raw), places=changes.places, probes=probes)


def in_order(names: Iterable[str]) -> list[str]:
    """Those of a frame's columns that cells have, in their order."""
    known = list(names)
    axes = [name for name in axis_types() if name in known]
    last = [name for name in (*_TAGS, "run_id") if name in known]
    return ["study", "key", *axes, "lr_found", *_cell_metrics(known), *last]


def _on_server(study: str, site: Site) -> Finished:
    found = {run.info.run_id: run for run in store.runs(site, study) if store.KEY in run.data.tags}
    held = {run_id: CellRun(tags=run.data.tags, metrics=run.data.metrics) for run_id, run in found.items()}
    places = {
        run_id: Place(
            stamp=digest([run.info.end_time, run.info.artifact_uri]),
            ended=(run.info.end_time or 0) / 1000,
            uri=str(run.info.artifact_uri),
        )
        for run_id, run in found.items()
    }
    probes = {run_id: _probes_of(each.tags) for run_id, each in held.items()}
    rows = _typed(study, site, _sorted(_read(held)))
    return Finished(study=study, rows=rows, places=places, probes=lambda: probes)


def _probes_of(tags: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    mark = f"{store.PROBE}."
    keys = {name.removeprefix(mark): value for name, value in tags.items() if name.startswith(mark)}
    return {key: (name, tags.get(f"{store.PROBE_SUM}.{key}", "")) for key, name in keys.items()}


def _changes(runs: Runs, before: Snapshot | None) -> _Changes:
    places, last = runs.places(), runs.last_point()
    logged = runs.logged_since((before.note[0], before.note[1])) if before else None
    if before is None or logged is None:
        before, logged = Snapshot(rows=_sorted(_read({})), stamps={}), set()
    kept = _without(before, logged & before.stamps.keys())
    stale = [run_id for run_id, place in places.items() if kept.stamps.get(run_id) != place.stamp]
    return _Changes(places=places, kept=kept, fresh=runs.read(stale), last=last)


def _without(before: Snapshot, run_ids: Set[str]) -> Snapshot:
    """The copy without some of its runs."""
    if not run_ids:
        return Snapshot(rows=before.rows, stamps=before.stamps)
    stamps = {run_id: stamp for run_id, stamp in before.stamps.items() if run_id not in run_ids}
    return Snapshot(rows=before.rows[~before.rows["run_id"].isin(run_ids)], stamps=stamps)


def _in_step(changes: _Changes, path: Path, form: str) -> pd.DataFrame:
    """The rows of the copy, brought in step with MLflow."""
    kept = changes.kept
    if not changes.fresh and len(kept.stamps) == len(changes.places):
        return kept.rows
    stamps = {run_id: place.stamp for run_id, place in changes.places.items()}
    rows = _sorted(snapshot.merged(kept, stamps, [_read(changes.fresh)]))
    snapshot.save(path, Snapshot(rows=rows, stamps=stamps, note=changes.last), form)
    return rows


def _read(held: Mapping[str, CellRun]) -> pd.DataFrame:
    """A row for each run; a rate search's columns are always there, and the metrics that any of them has."""
    runs = list(held.values())
    frame = axes_frame([Cell.from_json(run.tags[store.CELL]) for run in runs])
    searched = {name: kind for name, kind in axis_types().items() if name not in frame}
    frame = frame.assign(**{name: pd.Series(None, index=frame.index, dtype=kind) for name, kind in searched.items()})
    frame.insert(0, "key", _column([run.tags[store.KEY] for run in runs], "str"))
    frame["lr_found"] = _column([float(run.tags.get(store.LR_FOUND, "nan")) for run in runs], "float64")
    names = [_cell_metrics(run.metrics) for run in runs]
    numbers = {
        name: _column([run.metrics.get(name) for run in runs], "float64") for name in sorted(set[str]().union(*names))
    }
    texts = {name: _column([run.tags.get(tag) for run in runs], "str") for name, tag in _TAGS.items()}
    last = texts | {"run_id": _column(list(held), "str"), _NAMES: _column([",".join(each) for each in names], "str")}
    return pd.concat([frame, pd.DataFrame(numbers | last, index=frame.index)], axis="columns")


def _column(values: Sequence[object], kind: str) -> pd.Series:
    return pd.Series(values, dtype=kind)  # type: ignore[call-overload]


def _sorted(rows: pd.DataFrame) -> pd.DataFrame:
    """By axes and key; what does not vary changes no order."""
    order = [name for name in axes_of(rows) if rows[name].nunique(dropna=False) > 1]
    return rows.sort_values([*order, "key"], ignore_index=True)


def _typed(study: str, site: Site, raw: pd.DataFrame) -> pd.DataFrame:
    """The rows as they are handed out: with the columns that some of these cells have."""
    twice = raw["key"][raw["key"].duplicated()]
    if len(twice):
        raise ValueError(
            f"study '{study}' has more than one finished run of cell {twice.min()} at {site.tracking}; "
            "delete all but one of them in MLflow"
        )
    fixed = raw["lr"].notna().all()
    unused = [name for name in axis_types() if name.startswith("lr_") and name not in AXES] if fixed else []
    metrics = _cell_metrics(name for names in raw[_NAMES].unique() for name in names.split(","))
    rows = raw.assign(study=pd.Series(study, index=raw.index, dtype="str"))
    rows = rows[in_order(["study", "key", *(set(axis_types()) - set(unused)), *metrics, *_TAGS, "run_id"])]
    kinds = {name: kind for name, kind in axis_types().items() if name in rows}
    return rows.astype(kinds | {name: "int64" for name in _WHOLE if name in metrics})


def _cell_metrics(names: Iterable[str]) -> list[str]:
    """Metric names in the order of `CELL_METRICS`, then by name."""
    known = sorted(set(names))
    return [name for start in CELL_METRICS for name in known if name.startswith(start)]
