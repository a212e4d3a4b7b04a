"""What the figures of a study show: its test scores against depth, its probes block by block, its rates.

Means and sd are those of `table`; `panels` draws what is laid out here. One chart has to serve every study, so axes
that no line style can show get panels of their own.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import get_args

import numpy as np
import pandas as pd

from analysis import look
from analysis.frames import varying
from analysis.names import drop_keys, name_metric
from analysis.panels import Chart
from analysis.rates import TRAINING_LOSS
from analysis.table import as_words, setting_axes, table
from sweeper.data import DATASETS
from sweeper.ladder import exploded_at
from sweeper.models import MODELS
from sweeper.probe_types import Probe

_PANEL_AXES = ("dataset", "model", "source")
_X_AXES = ("depth", "blocks", "frozen", "fraction")
"""The axes that are drawn from left to right, the first that varies."""
_X_LABELS = {
    "depth": "{grain}s kept",
    "blocks": "{grain}s that receive the source's values",
    "frozen": "frozen {grain}s",
    "fraction": "share of the training patients",
    "lr": "learning rate",
    "source": "",
}
_COUNTS = ("filters",)
"""Probes whose number of their own name says how much a picture shows."""
_LABEL_WIDTH = 34
"""Characters that fit beside a panel of probes."""
_SCORED = ("knn", "reinit")
"""Probes that tell all scores of a block."""
_PROBE_LABELS = {
    "cka": "CKA with the start",
    "cca": "CCA with the start",
    "procrustes": "Procrustes with the start",
    "knn": "k-NN {metric}",
    "l2": "L2 from the start",
    "reinit": "{metric}, block put back",
}
_KINDS = {"l2_relative": "relative L2 from the start", "cosine": "cosine of the weights with the start"}
"""Metrics that are not called as their probe."""
_MOST_PANELS = 60
"""Of rate searches: more take minutes to draw, and nobody looks at them."""
_PANELS_IN_A_ROW = 3
"""Of rate searches: a screen of 1200 pixels shows them as they are."""
_TITLE_WIDTH = 50
"""Characters that fit over a panel."""
_PROBE_SETTINGS = sorted({each.name for kind in get_args(Probe) for each in fields(kind)} - {"across", "other_state"})
"""What may differ between two probes of one name that ask the same block of the same cell."""


def score_chart(frame: pd.DataFrame) -> Chart:
    """The test score against the depth, one line per source; a panel per data set (down) and model (across).

    Where the depth does not vary, another axis of numbers takes its place; where none does, the sources stand side by
    side. `fraction` and other axes are styles of the line, or panels of their own when they are too many.
    """
    frame = fill_blocks(drop_keys(frame))
    rows = table(frame, by=[*_PANEL_AXES, *(axis for axis in setting_axes(frame) if axis not in _PANEL_AXES)])
    others = [axis for axis in varying(rows) if axis not in _PANEL_AXES]
    x = next((axis for axis in (*_X_AXES, *others) if axis in others and _has_places(rows[axis])), "source")
    styles, extra = _split(rows, [axis for axis in others if axis != x])
    points = _in_style_order(rows, styles)
    points = points.assign(
        row=_names(points, ["dataset", *extra]),
        column=_names(points, ["model"]),
        title=_names(points, ["dataset", "model", *extra]),
        y_label=points["metric"].map(name_metric),
        x=points[x],
        source=as_words(points["source"]),
    )
    return Chart(data=rows, points=points, x_label=_x_label(x, frame))


def probe_chart(probes: pd.DataFrame) -> Chart:
    """Each probe's value by block, one line per source, of the cells with the most blocks of their model.

    A row of panels per probe, a column per data set and model; of all rows those of `by_block`.
    """
    frame = _with_measures(_deepest(fill_blocks(drop_keys(by_block(probes)))))
    axes = [axis for axis in setting_axes(frame) if axis not in _PANEL_AXES]
    same_depth = [] if "depth" in axes else ["depth"]
    by = ["probe", "measure", "metric", *_PANEL_AXES, *same_depth, *axes, "block"]
    groups = frame.groupby(by, dropna=False, as_index=False)
    rows = groups.agg(mean=("value", "mean"), sd=("value", "std"), n=("value", "count"))
    styles, extra = _split(rows, axes)
    points = _in_style_order(rows, styles)
    points = points.assign(
        row=points["measure"],
        column=_names(points, ["dataset", "model", *extra]),
        title=_names(points, ["dataset", "model", *same_depth, *extra]),
        y_label=points["measure"].map(partial(textwrap.fill, width=_LABEL_WIDTH)),
        x=points["block"],
        source=as_words(points["source"]),
    )
    smallest = rows[rows["metric"].isin(["l2", "l2_relative"])].groupby("measure")["mean"].min()
    logs = frozenset(smallest[smallest > 0].index)  # a frozen block has moved by 0, which no log scale can show
    return Chart(data=rows, points=points, x_label=str(frame["grain"].iloc[0]), log_rows=logs)


def by_block(probes: pd.DataFrame) -> pd.DataFrame:
    """The rows that `probe_chart` can show: one number a block of a cell, of scores the one that selects epochs.

    Left out are pairs of cells or of different blocks, what chance comes to, what is told of the whole model, and how
    many filters a picture is of.
    """
    rows = probes[probes["block"].notna()]
    for column, same in (("other", None), ("other_block", "block")):
        if column in rows:
            rows = rows[rows[column].isna() | (rows[column] == rows[same] if same else False)]
    main = rows["dataset"].map({name: DATASETS[name].metric for name in rows["dataset"].unique()})
    own = ((rows["metric"] == rows["probe"]) & ~rows["probe"].isin(_COUNTS)) | (rows["probe"] == "l2")
    return rows[own | (rows["probe"].isin(_SCORED) & (rows["metric"] == main))].astype({"block": "int64"})


def rate_chart(tried: pd.DataFrame) -> Chart:
    """What each learning rate came to, one line per source, the rate that was taken marked; a panel for all else.

    Panels of one data set and model stand in rows of their own. A trial's value is the best of its validations; a range
    test's are its training losses. Of more than 60 panels the first 60 are drawn.

    Args:
        tried: rows of `rates.trials`.
    """
    frame = fill_blocks(drop_keys(tried))
    axes = [axis for axis in setting_axes(frame.drop(columns="lr")) if axis not in _PANEL_AXES]
    rows = _best_of_trials(frame, [*_PANEL_AXES, *axes])
    measure = rows["metric"].map(name_metric) + np.where(rows["metric"] == TRAINING_LOSS, "", ", validation part")
    titles = _names(rows, ["dataset", "model", *axes])
    first = _names(rows, ["dataset", "model"]) + measure
    place = titles.groupby(first, sort=False).transform(lambda group: pd.factorize(group)[0]).astype(int)
    points = rows.assign(
        row=first + (place // _PANELS_IN_A_ROW).astype("str"),
        column=(place % _PANELS_IN_A_ROW).astype("str"),
        title=titles.map(partial(textwrap.fill, width=_TITLE_WIDTH)),
        y_label=measure,
        x=rows["lr"],
        style="",
        source=as_words(rows["source"]),
        sd=np.nan,
        n=1,
    )
    panels = points[["row", "column"]].drop_duplicates()
    shown = points.merge(panels.head(_MOST_PANELS), on=["row", "column"])
    cut = f"; the first {_MOST_PANELS} of {len(panels)} panels" if len(panels) > _MOST_PANELS else ""
    lows = shown[~shown["higher"] & (shown["metric"] != TRAINING_LOSS)].groupby("row")["mean"].min()
    return Chart(
        data=rows,
        points=shown,
        x_label=_X_LABELS["lr"],
        log_rows=frozenset(lows[lows > 0].index),  # the loss of a rate that is too high is many times the others'
        note=f"a trial, or a stretch of a range test, a point; ring: the rate taken; cross: diverged or exploded{cut}",
    )


def _best_of_trials(frame: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """One row per trial, or stretch of a range test: axes, `lr` and best value, as `mean`, NaN where it diverged."""
    curves = frame.groupby("setting")[TRAINING_LOSS]
    exploded = curves.transform(lambda losses: np.arange(len(losses)) >= exploded_at(losses.tolist()))
    value = frame["score"].mask(frame["diverged"].notna()).fillna(frame[TRAINING_LOSS].mask(exploded.astype(bool)))
    rows = frame.assign(best=value.where(frame["higher"], -value))
    by = [*axes, "metric", "higher", "setting", "number", "lr"]
    found = rows.groupby(by, dropna=False, sort=False, as_index=False).agg(
        mean=("best", "max"), marked=("chosen", "any"), diverged=("diverged", "first")
    )
    found["mean"] = found["mean"].where(found["higher"], -found["mean"])
    return found.sort_values([*axes, "setting", "lr"], ignore_index=True)


def fill_blocks(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with numbers for None: `depth` becomes all blocks of its model, and `blocks` all that are kept.

    `blocks` is filled only where each model has one depth, for else it would say again what `depth` says; no block
    of a random start receives anything. What rate searches share stands in no column, and stays so.
    """
    if "depth" not in frame:
        return frame
    pairs = zip(frame["model"], frame["grain"], strict=True)
    whole = pd.Series([MODELS[model].blocks[grain] for model, grain in pairs], index=frame.index, dtype="Int64")
    filled = frame.assign(depth=frame["depth"].fillna(whole))
    if "blocks" not in frame or (filled.groupby(["model", "grain"])["depth"].nunique() > 1).any():
        return filled
    received = filled["depth"].where(frame["source"] != look.BASELINE, 0)
    return filled.assign(blocks=frame["blocks"].fillna(received))


def _has_places(values: pd.Series) -> bool:
    """Whether an axis can be drawn from left to right."""
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    return numeric and bool(values.notna().all())


def _split(rows: pd.DataFrame, axes: Sequence[str]) -> tuple[list[str], list[str]]:
    """The axes that are shown as styles of a line, and those that get panels since there are too few styles."""
    styles, extra = sorted(axes, key=lambda axis: axis == "fraction"), []
    while styles and len(rows[styles].drop_duplicates()) > len(look.DASHES):
        extra.append(styles.pop(0))
    return styles, extra


def _in_style_order(rows: pd.DataFrame, styles: Sequence[str]) -> pd.DataFrame:
    """The rows with their `style`, the largest values first, for these get the line that is drawn through."""
    ordered = rows.sort_values(list(styles), ascending=False, kind="stable") if styles else rows
    return ordered.assign(style=_names(ordered, styles))


def _names(rows: pd.DataFrame, axes: Sequence[str]) -> pd.Series:
    """One text per row from some axes: `breastmnist, resnet10t, fraction 0.1`."""
    words = [[word if axis in _PANEL_AXES else f"{axis} {word}" for word in as_words(rows[axis])] for axis in axes]
    return pd.Series([", ".join(each) for each in zip(*words, strict=True)] or "", index=rows.index, dtype="str")


def _x_label(axis: str, frame: pd.DataFrame) -> str:
    grain = "block" if frame["grain"].nunique() > 1 else frame["grain"].iloc[0]
    return _X_LABELS.get(axis, axis).format(grain=grain)


def _deepest(frame: pd.DataFrame) -> pd.DataFrame:
    most = frame.groupby(["model", "grain"])["depth"].transform("max")
    return frame[frame["depth"] == most]


def _with_measures(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with `measure`: what a probe measures, and those of its settings that differ."""
    pieces = []
    for probe, rows in frame.groupby("probe"):
        settings = [name for name in _PROBE_SETTINGS if name in rows and rows[name].nunique(dropna=False) > 1]
        label = _PROBE_LABELS.get(str(probe), f"{probe} {{metric}}")
        texts = [_KINDS.get(metric, label).format(metric=name_metric(metric)) for metric in rows["metric"]]
        named = [f"{text}, {name}" if name else text for text, name in zip(texts, _names(rows, settings), strict=True)]
        pieces.append(pd.Series(named, index=rows.index, dtype="str"))
    return frame.assign(measure=pd.concat(pieces))
