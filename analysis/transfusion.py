"""`python -m analysis.transfusion STUDY OUT`: the figures of Raghu et al. 2019 from a study's rows.

Scores by start and share of the images (Tables 1 to 3), similarity to the start by layer, learning curves, steps to a
threshold against the transferred stages, all starts beside one another with the slim hybrid, first-layer filters.
"""

import sys
from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from analysis import look
from analysis.names import name_metric
from analysis.panels import draw
from analysis.plates import Lack, Plate, keys_of, lacking
from analysis.probe_figures import block_lines, filter_pictures, pair_maps, panel_names
from analysis.shapes import bars
from analysis.sheets import line_chart
from analysis.statistics import summarise
from analysis.study_record import Record, apart, run
from sweeper.metric import describe


def scores(record: Record) -> Plate | Lack:
    """The test score of every start, on all images: transfer, statistics, transfusion, the hybrid, Gabor filters."""
    rows = _on_all_images(record.runs)
    models = panel_names(rows, ("model", "width"))
    by = ["dataset", "model", "width", "metric", "start"]
    rows = apart(rows, by)
    drawn = rows.assign(panel=_with_metric(rows) + rows["also"], x=models, hue=rows["start"])
    figure = bars(drawn, y_label="score on the test part", note="each cell a dot")
    shows = "test score by model and start, on all training images, mean and sd (n - 1) over seeds and folds"
    data = summarise(rows, "value", [*by, "also"])
    return Plate(name="scores", shows=shows, data=data, keys=keys_of(rows), figure=figure)


def few_images(record: Record) -> Plate | Lack:
    """The test score against the share of the training images, random and transferred starts."""
    runs = record.runs
    plain = runs["blocks"].isna() & runs["slim"].isna() & runs["gabor"].isna() & runs["depth"].isna()
    rows = runs[plain]
    if rows["fraction"].nunique() < 2:
        return lacking("few_images", "second share of the training images", "fraction=[1.0, 0.1] is an axis of them")
    by = ["dataset", "model", "width", "metric", "source", "fraction"]
    found = summarise(apart(rows, by), "value", [*by, "also"])
    panel = panel_names(found, ("dataset", "model", "width")) + found["also"]
    label = "share of the training images"
    chart = line_chart(found, panel=panel, line=found["source"], x="fraction", x_label=label, y_label=found["metric"])
    shows = "test score by share of the training images, mean and sd (n - 1) over seeds and folds"
    return Plate(name="few_images", shows=shows, data=found, keys=keys_of(rows), figure=draw(chart))


def learning_curves(record: Record) -> Plate | Lack:
    """The validation score along the epochs, a line per start."""
    rows = _curves(record)
    if rows.empty:
        return lacking("learning_curves", "epochs with the targets' own score", "see frames.epochs")
    by = ["dataset", "model", "width", "metric", "start", "epoch"]
    found = summarise(apart(rows, by), "score", [*by, "also"])
    panel = panel_names(found, ("dataset", "model", "width")) + found["also"]
    chart = line_chart(found, panel=panel, line=found["start"], x="epoch", x_label="epoch", y_label=found["metric"])
    shows = "validation score by epoch, mean and sd (n - 1) of the cells that ran so long"
    return Plate(name="learning_curves", shows=shows, data=found, keys=keys_of(rows), figure=draw(chart))


def epochs_to(record: Record) -> Plate | Lack:
    """The first epoch whose validation score reaches the threshold, by start; never within the training is infinity.

    The epoch itself, or its share where there are several validations in one, nothing interpolated, as
    `sweeper.probes.convergence.steps_to` counts. A start of which a cell never reaches it has no mean: a cross at the
    foot. `reached` of `n` cells did.
    """
    name, threshold = "epochs_to_threshold", record.settings["threshold"]
    rows = _curves(record)
    if rows.empty:
        return lacking(name, "epochs with the targets' own score", "see frames.epochs")
    known = ["key", "dataset", "model", "width", "metric", "start", "also"]
    rows = apart(rows, known[1:-1])
    first = rows[rows["score"] >= threshold].groupby("key")["epoch"].min()
    if first.empty:
        best = rows["score"].max()
        return lacking(name, f"validation score of {threshold:g}", f"the best is {best:.3f}; give another --threshold")
    cells = rows[known].drop_duplicates("key")
    cells = cells.assign(epochs=cells["key"].map(first).fillna(np.inf))
    groups = cells.groupby(known[1:], dropna=False, sort=False)["epochs"]
    found = groups.agg(mean="mean", sd="std", n="size", reached=lambda each: int(np.isfinite(each).sum())).reset_index()
    never = ~np.isfinite(found["mean"])
    drawn = found.assign(mean=found["mean"].mask(never), sd=found["sd"].mask(never))
    drawn = drawn.sort_values("start", key=lambda names: names.map(_place), kind="stable")
    y_label = pd.Series(f"epochs to {threshold:g}", index=drawn.index)
    panel = panel_names(drawn, ("dataset", "model", "width")) + drawn["also"]
    chart = line_chart(
        drawn.assign(x=drawn["start"].astype("str")), panel=panel, line=drawn["start"], x="x", x_label="",
        y_label=y_label, note=f"first epoch with a validation score of {threshold:g}; cross: some cell never had it",
    )  # fmt: skip
    figure = draw(chart)
    for axes in figure.axes:
        axes.tick_params(axis="x", labelbottom=False, length=0)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))  # epochs are counted
    shows = f"first epoch with a validation score of at least {threshold:g}, mean and sd (n - 1)"
    return Plate(name=name, shows=shows, data=found, keys=keys_of(rows), figure=figure)


def _curves(record: Record) -> pd.DataFrame:
    """The validations of cells on all images: `epoch`, passes until then, `metric`, the target's own, and `score`."""
    epochs = _on_all_images(record.epochs) if len(record.epochs) else record.epochs
    if epochs.empty:
        return epochs
    epochs = epochs.assign(epoch=epochs["epoch"] / epochs["validations"])  # what is recorded counts validations
    own = record.runs.set_index("key")["metric"].str.replace("test_", "val_", n=1)
    rows = epochs.assign(metric=epochs["key"].map(own), score=np.nan)
    for metric in rows["metric"].unique():
        if metric in rows and describe(metric):
            rows["score"] = rows["score"].where(rows["metric"] != metric, rows[metric])
    return rows.dropna(subset="score")


def _on_all_images(rows: pd.DataFrame) -> pd.DataFrame:
    """The whole networks on the largest share of the training images of their target."""
    kept = rows[rows["depth"].isna()]
    return kept[kept["fraction"] == kept.groupby("dataset")["fraction"].transform("max")]


def _with_metric(rows: pd.DataFrame) -> pd.Series:
    return rows["dataset"] + ", " + rows["metric"].map(name_metric)


def _place(start: str) -> tuple[bool, str]:
    return start != look.BASELINE, start


FIGURES = (
    *(scores, few_images),
    partial(block_lines, name="layers_start", probes=["cca", "cka"], metric="own"),
    partial(pair_maps, name="layer_maps", probes=["cca", "cka"]),
    *(learning_curves, epochs_to, filter_pictures),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the figures and returns the exit code."""
    return run("transfusion", FIGURES, arguments)


if __name__ == "__main__":
    sys.exit(main())
