"""`python -m analysis.truncated_transfer STUDY [STUDY ...] OUT`: the figures of Peng et al. 2021 and 2023.

The study is several sweeps (`truncated_transfer`, `..._layers`, `..._pooling`, `..._more`, `..._medical`): name those
that have run. Score and cost by truncation, heads, similarity by depth, methods, sensitivity, fixed features, sources.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from analysis import look
from analysis.names import name_metric
from analysis.panels import draw
from analysis.plates import Lack, Plate, keys_of, lacking
from analysis.probe_figures import panel_names
from analysis.shapes import bars, heat_maps
from analysis.sheets import line_chart
from analysis.statistics import summarise
from analysis.study_record import Record, apart, run
from analysis.truncation_tables import (
    BOTH,
    COSTS,
    DEVICES,
    fixed_features,
    methods,
    plain,
    seconds_per_epoch,
    similarity_by_point,
    with_costs,
    with_points,
)
from sweeper.models import MODELS


def truncation(record: Record) -> Plate | Lack:
    """AUROC, AUPRC and cost against the blocks kept, a line per source, a column per target and model.

    Cost is seconds per epoch, and what the probe `cost` recorded.
    """
    rows = with_costs(with_points(plain(record.runs)), record)
    if rows["depth"].nunique() < 2:
        return lacking("truncation", "second depth", "depth=[1, 2, 3] is an axis of truncated networks")
    cut = ["dataset", "model", "grain", "head", "fraction"]
    rows = apart(rows.assign(seconds_per_epoch=seconds_per_epoch(rows)), [*cut, "source", "point", "depth"])
    measures = {**BOTH, "seconds_per_epoch": "seconds per epoch", **COSTS}
    devices = [name for name in DEVICES.values() if name in rows]
    long = (
        rows.drop(columns=["metric", "value"])
        .melt(
            id_vars=["key", "dataset", "model", "grain", "source", "fraction", "head", "point", "also", *devices],
            value_vars=[name for name in measures if name in rows],
            var_name="metric",
        )
        .dropna(subset="value")
    )
    long = long.assign(also=long["also"] + _devices(long))
    cut = [*cut, "also"]
    long = long[long.groupby(cut)["point"].transform("nunique") > 1]
    found = summarise(long, "value", [*cut, "source", "metric", "point"])
    title = panel_names(found, cut[:-1]) + found["also"]
    label = found["metric"].map(measures)
    chart = line_chart(
        found, panel=title, line=found["source"], x="point", x_label="blocks or layers kept", y_label=label
    )
    order = found["metric"].map({name: place for place, name in enumerate(measures)})
    points = chart.points.assign(row=chart.points["row"] + label, order=order)  # a row shares its axis: one measure
    chart = replace(chart, points=points.sort_values(["row", "order", "column"], kind="stable"))
    shows = "test AUROC, AUPRC and cost by depth, mean and sd (n - 1) over folds and seeds"
    return Plate(name="truncation", shows=shows, data=found, keys=keys_of(long), figure=draw(chart))


def _devices(long: pd.DataFrame) -> pd.Series:
    """Per row of a time what took it, as `, on NVIDIA H100`, where several devices did; times of two never mix."""
    texts = pd.Series("", index=long.index, dtype="str")
    for time, device in DEVICES.items():
        of_time = long["metric"] == time
        if device in long and long.loc[of_time, device].nunique(dropna=False) > 1:
            texts = texts.where(~of_time, ", on " + long[device].fillna("unknown").astype("str"))
    return texts


def pooling(record: Record) -> Plate | Lack:
    """The score of pooled and of flattened heads by depth."""
    rows = with_points(plain(record.runs))
    heads = rows.groupby(["dataset", "model"])["head"].transform("nunique")
    rows = rows[heads > 1]
    if rows.empty:
        return lacking(
            "pooling", "network with both heads", 'head=["pool", "flatten"] is an axis of truncated networks'
        )
    by = ["dataset", "model", "grain", "metric", "head", "point", "depth"]
    found = summarise(apart(rows, by), "value", [*by[:-1], "also"])
    label = "blocks or layers kept"
    chart = line_chart(
        found,
        panel=panel_names(found, ("dataset", "model", "grain")) + found["also"],
        line=found["head"],
        x="point",
        x_label=label,
        y_label=found["metric"],
    )
    shows = "test score by depth with pooled and flattened heads, mean and sd (n - 1) over folds and seeds"
    return Plate(name="pooling", shows=shows, data=found, keys=keys_of(rows), figure=draw(chart))


def sensitivity(record: Record) -> Plate | Lack:
    """The score by where fine-tuning starts and how much slower the backbone learns, or where and how slim."""
    runs, pieces = record.runs, []
    for first, second in (("frozen", "backbone_decay"), ("slim", "slim_factor")):
        rows = runs[(runs[first].fillna(0) > 0) & runs["depth"].isna()]
        if rows[second].nunique() > 1:
            pieces.append(rows.assign(across=rows[first], factor=rows[second], map=f"{first} × {second}"))  # noqa: RUF001
    if not pieces:
        return lacking("sensitivity", "grid of two axes", "frozen with backbone_decay, or slim with slim_factor")
    rows = pd.concat(pieces, ignore_index=True)
    by = ["dataset", "model", "metric", "map", "across", "factor"]
    found = summarise(apart(rows, by), "value", [*by, "also"])
    drawn = found.assign(panel=panel_names(found, ("map", "dataset", "model")) + found["also"], value=found["mean"])
    drawn = drawn.assign(x=drawn["across"].astype(int), y=drawn["factor"].astype(float))
    figure = heat_maps(
        drawn, x_label="first blocks kept as they are", y_label="factor", digits=3, mark=3,
        note="mean test score; the three highest of each map are framed",
    )  # fmt: skip
    shows = "mean test score by where a method starts and how strong it is"
    return Plate(name="sensitivity", shows=shows, data=found, keys=keys_of(rows), figure=figure)


def medical_sources(record: Record) -> Plate | Lack:
    """Scores of full and truncated transfer from sources that are medical too."""
    rows = with_points(plain(record.runs))
    rows = rows[rows["source"] != look.BASELINE]
    several = rows.groupby("dataset")["source"].transform("nunique") > 1
    rows = rows[several]
    if rows.empty:
        return lacking("medical_sources", "second source of one target", "source is an axis of them")
    full = [MODELS[model].blocks[grain] for model, grain in zip(rows["model"], rows["grain"], strict=True)]
    method = ("cut at " + rows["point"].astype("str")).where(rows["point"] < full, "full")
    by = ["dataset", "model", "metric", "source", "point"]
    rows = apart(rows, [*by, "depth"])
    panel = rows["dataset"] + ", " + rows["model"] + ", " + rows["metric"].map(name_metric) + rows["also"]
    drawn = rows.assign(panel=panel, x=rows["source"], hue=method)
    figure = bars(drawn, y_label="score on the test part", note="each cell a dot")
    data = summarise(drawn, "value", [*by, "also"])
    shows = "test score by source and depth, mean and sd (n - 1) over folds and seeds"
    return Plate(name="medical_sources", shows=shows, data=data, keys=keys_of(rows), figure=figure)


def transfer_or_random(record: Record) -> Plate | Lack:
    """Transfer against random starts with both areas, by model and share of the images (2021)."""
    runs = plain(record.runs)
    both = runs.groupby(["dataset", "model"])["source"].transform("nunique") > 1
    rows = runs[both & runs["depth"].isna()]
    columns = [name for name in BOTH if name in rows]
    if rows.empty or look.BASELINE not in set(rows["source"]) or not columns:
        return lacking("transfer_or_random", "model with random and transferred starts", "source is an axis of them")
    rows = apart(rows, ["dataset", "model", "source", "fraction"])
    known = ["key", "dataset", "model", "source", "fraction", "also"]
    long = (
        rows.drop(columns=["metric", "value"])
        .melt(id_vars=known, value_vars=columns, var_name="metric")
        .dropna(subset="value")
    )
    texts = long["model"] + long["fraction"].map(lambda share: "" if share == 1 else f" {share:.0%}")
    drawn = long.assign(
        panel=long["dataset"] + long["also"] + ": " + long["metric"].map(BOTH), x=texts, hue=long["source"]
    )
    figure = bars(drawn.sort_values(["panel", "model"], kind="stable"), y_label="area", note="each cell a dot")
    data = summarise(long, "value", [*known[1:], "metric"])
    shows = "test AUROC and AUPRC by model, start and share of the images, mean and sd (n - 1)"
    return Plate(name="transfer_or_random", shows=shows, data=data, keys=keys_of(rows), figure=figure)


def by_class(record: Record) -> Plate | Lack:
    """Both areas of each class (finding) by start and depth."""
    rows = with_points(plain(record.runs))
    columns = {f"test_{name}_class_": text for name, text in (("auroc", "AUROC"), ("auprc", "AUPRC"))}
    values = [str(name) for name in rows if str(name).startswith(tuple(columns)) and rows[name].notna().any()]
    if not values:
        return lacking("by_class", "score of a single class", "they are recorded where a target has several")
    known = ["dataset", "model", "source", "point"]
    rows = apart(rows, [*known, "depth"])
    bare = rows.drop(columns=["metric", "value"])
    long = bare.melt(id_vars=["key", *known, "also"], value_vars=values, var_name="metric")
    long = long.dropna(subset="value")
    split = long["metric"].str.extract(r"^test_(?P<area>\w+)_class_(?P<number>\d+)$")
    setting = long["model"] + ", " + long["source"] + ", " + long["point"].astype("str") + " kept" + long["also"]
    drawn = long.assign(panel=long["dataset"] + ": " + split["area"].str.upper(), x=split["number"], hue=setting)
    first = list(drawn["hue"].unique())[:_MOST_SETTINGS]
    cut = "" if drawn["hue"].nunique() <= _MOST_SETTINGS else f"; the first {_MOST_SETTINGS} of many settings"
    figure = bars(drawn[drawn["hue"].isin(first)], y_label="area", note=f"by class{cut}")
    data = summarise(long, "value", [*known, "also", "metric"])
    shows = f"test AUROC and AUPRC of each class by setting, mean and sd (n - 1){cut}"
    return Plate(name="by_class", shows=shows, data=data, keys=keys_of(rows), figure=figure)


_MOST_SETTINGS = 4
FIGURES = (
    *(truncation, methods, pooling, similarity_by_point, sensitivity, medical_sources, fixed_features),
    *(transfer_or_random, by_class),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the figures and returns the exit code."""
    return run("truncated_transfer", FIGURES, arguments)


if __name__ == "__main__":
    sys.exit(main())
