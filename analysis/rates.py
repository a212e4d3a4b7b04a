"""What the learning-rate searches of a study tried: one row per trial and validation, or per stretch of a range test.

Nothing is computed here: scores and choices are those that were recorded when a search ended.
"""

import pandas as pd

from analysis.frames import axes_frame
from sweeper import store
from sweeper.cell import Cell, LrSearch
from sweeper.data import DATASETS
from sweeper.site import Site

TRAINING_LOSS = "train_loss"
"""What a range test is read from."""
_TRIED = ("metric", "number", "lr", "epoch", "score", "higher", TRAINING_LOSS, "diverged", "chosen")


def trials(study: str, site: Site | None = None) -> pd.DataFrame:
    """One row per trial and validation of every rate search of a study that has ended, sorted by the axes.

    Columns: `study`, `setting`, the axes but those that every search shares, then `metric` (what was compared),
    `number` of the trial, its `lr`, `epoch` (passes until then), `score` (missing where a trial diverged before its
    first), `higher` (whether a high score is good), `train_loss`, `diverged` (missing, or where) and `chosen`
    (whether the rate was taken). A range test has a row per stretch, with its `train_loss` and without scores.

    Raises:
        LookupError: when there is no such study.
    """
    site = site or Site.from_environment()
    found = store.searches(site, study)
    cells = [Cell.from_json(run.data.tags[store.CELL]) for run in found]
    axes = axes_frame(cells).drop(columns=["lr", *_shared_by_all(cells)])
    order = axes.columns.tolist()
    axes.insert(0, "study", pd.Series(study, index=axes.index, dtype="str"))
    axes.insert(1, "setting", pd.Series([cell.setting() for cell in cells], index=axes.index, dtype="str"))
    axes["metric"] = pd.Series([_metric(cell) for cell in cells], index=axes.index, dtype="str")
    pieces = [
        pd.read_parquet(store.artifact(site, run.info.run_id, store.RATES)).assign(setting=cell.setting())
        for run, cell in zip(found, cells, strict=True)
    ]
    if not pieces:
        return axes
    rows = axes.merge(pd.concat(pieces, ignore_index=True), on="setting", validate="one_to_many")
    rows = rows[["study", "setting", *order, *_TRIED]]
    return rows.sort_values([*order, "setting", "number", "epoch"], ignore_index=True)


def _shared_by_all(cells: list[Cell]) -> list[str]:
    shared = [set(cell.recipe.lr.share) for cell in cells if isinstance(cell.recipe.lr, LrSearch)]
    return sorted(set.intersection(*shared)) if shared else []


def _metric(cell: Cell) -> str:
    """What the trials of a cell's search are compared by."""
    search, monitor = cell.recipe.lr, cell.recipe.monitor
    if isinstance(search, LrSearch) and search.method == "range_test":
        return TRAINING_LOSS
    return DATASETS[cell.images.dataset].metric if monitor == "metric" else monitor
