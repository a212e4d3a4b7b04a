"""Of Peng et al. 2023: the table of methods, similarity by truncation point, and fixed features with their tests.

The points of a method are chosen on the validation part alone; the test part is only reported.
"""

import pandas as pd

from analysis.clouds import point_boxes
from analysis.figures import fill_blocks
from analysis.names import name_metric
from analysis.plates import Lack, Plate, keys_of, lacking
from analysis.probe_figures import asked, of_cells, panel_names
from analysis.shapes import bars
from analysis.statistics import compare, summarise
from analysis.study_record import Record, apart

BOTH = {"test_auroc": "AUROC", "test_auprc": "AUPRC"}
SELECTS = "best_val_auprc"
"""What chooses a method's point, on the validation part."""
DEVICES = {"seconds_per_epoch": "device", "latency_ms": "latency_device"}
"""A time -> the column that names what took it; times of two devices have no mean."""
COSTS = {"parameters": "parameters", "macs": "MACs of an image", "latency_ms": "ms a batch"}
"""Metrics of the probe `cost` -> what they are, as `models.count` and `probes.cost.latency` tell them."""
METHODS = {"depth": "TTL", "slim": "TF", "frozen": "LWFT"}
"""Axis that says where a method cuts -> its name."""
_TOLD = ("dataset", "model", "source", "fraction", "method")
"""What the rows of the table of methods are told by."""


def plain(runs: pd.DataFrame) -> pd.DataFrame:
    """The cells that train all blocks of an unslimmed network, cut or not."""
    return runs[runs["slim"].isna() & (runs["frozen"] == 0) & runs["gabor"].isna() & (runs["backbone_decay"] == 1)]


def with_points(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with `point`: the blocks kept, a number for whole networks too."""
    return rows.assign(point=fill_blocks(rows)["depth"].astype("int64")) if len(rows) else rows.assign(point=0)


def with_costs(rows: pd.DataFrame, record: Record) -> pd.DataFrame:
    """The rows of cells with those of `COSTS` that the probe `cost` recorded of each cell's own network.

    A network's costs are rows without a block, or of the block after which it is cut; where several settings of the
    probe were declared (another batch, another device) those of the first are taken. `latency_device` names what took
    the time.
    """
    found = record.of_probe("cost")
    found = found[found["metric"].isin(COSTS)]
    if found.empty:
        return rows
    found = found[found["probe_key"] == found["probe_key"].iloc[0]]
    kept = found["key"].map(with_points(record.runs).set_index("key")["point"])
    found = found[found["block"].isna() | (found["block"] == kept)]
    wide = found.pivot(index="key", columns="metric", values="value")
    if "device" in found:
        wide = wide.assign(latency_device=found[found["metric"] == "latency_ms"].set_index("key")["device"])
    return rows.assign(**{str(name): rows["key"].map(wide[name]) for name in wide})


def seconds_per_epoch(runs: pd.DataFrame) -> pd.Series:
    """Of each cell, all of its time over its passes; what a record counts as epochs are validations."""
    return runs["total_seconds"] / (runs["epochs_run"] / runs["validations"])


def methods(record: Record) -> Plate | Lack:
    """The best point of each method on the validation part, with its test scores and cost.

    `FTL` is the whole network. A study named `..._layers` holds the second stage: rows `-1` are the best of the others'
    points, rows `-2` of all. What a cell costs is seconds per epoch and `COSTS`, as recorded, beside the devices that
    took the times; a time is missing where a row's cells have those of several.
    """
    rows = with_costs(_of_methods(record.runs), record)
    if rows["method"].nunique() < 2:
        return lacking("methods", "second method", "depth, slim and frozen are the axes of TTL, TF and LWFT")
    second = rows["study"].str.endswith("_layers")
    stages = {"-1": rows[~second], **({"-2": rows} if second.any() else {})}
    found = [_best(stage[stage["method"] != "FTL"], suffix) for suffix, stage in stages.items()]
    whole = _means(rows[rows["method"] == "FTL"]).assign(stage="")
    data = pd.concat([whole, *found], ignore_index=True)
    data["name"] = data["method"] + data["stage"]
    first = ["dataset", "model", "name", "point"]
    data = data[[*first, *(name for name in data if name not in first)]].sort_values(first[:3], kind="stable")
    shows = f"each method's best point by {SELECTS}, with its test scores: mean and sd (n - 1) over folds and seeds"
    lacks = [name for name in COSTS if name not in rows]
    without = f"{', '.join(lacks)}: no rows of the probe cost; declare it among the sweep's probes" if lacks else ""
    return Plate(name="methods", shows=shows, data=data, keys=keys_of(rows), without=without)


def similarity_by_point(record: Record) -> Plate | Lack:
    """Similarity of trained and starting blocks against the truncation point, beside chance, with the test AUPRC.

    The mean of canonical correlations is the area under the curve of the sorted ones over their share of the number,
    so `above_chance`, its distance from that of Gaussian features, is the area between the two curves of the study.
    """
    name, rows = "similarity_by_point", of_cells(record.of_probe("cca", "cka"))
    rows = rows[rows["block"].notna() & rows["metric"].isin(["cca", "cka", "cca_gaussian", "cka_gaussian"])]
    rows = with_points(plain(rows)) if len(rows) else rows.assign(point=0)
    rows = rows[rows["other_block"].isna() | (rows["other_block"] == rows["block"])]
    several = rows.groupby(["dataset", "model"])["point"].transform("nunique") > 1 if len(rows) else rows["point"] > 0
    rows = rows[several]
    if rows.empty:
        return lacking(name, "rows of the probe cca or cka at two depths", "declare it among the sweep's probes")
    kind = str(rows["probe"].iloc[0])
    score = next(column for column in ("test_auprc", "test_auroc", "value") if column in record.runs)
    known = ["key", "dataset", "model", "grain", "source", "point", "block", "asked", "also"]
    rows = apart(rows.assign(asked=asked(rows)), [*known[1:-1], "depth", "metric"])
    wide = rows.pivot_table(index=known, columns="metric", values="value", aggfunc="mean").reset_index()
    chance = f"{kind}_gaussian"
    wide = wide.assign(above_chance=wide[kind] - wide[chance]) if chance in wide else wide
    wide = wide.assign(score=wide["key"].map(record.runs.set_index("key")[score]))
    panel = panel_names(wide, ("dataset", "model", "grain", "source")) + wide["asked"] + wide["also"]
    drawn = wide.assign(panel=panel)
    figure = point_boxes(drawn, kind, chance if chance in wide else None, name_metric(score.removeprefix("test_")))
    shows = f"{kind.upper()} of each block before and after training by depth, with the test {score} (mean, sd)"
    return Plate(name=name, shows=shows, data=wide, keys=keys_of(rows), figure=figure)


def fixed_features(record: Record) -> Plate | Lack:
    """FAT: scores of frozen backbones by where they are cut, each against the whole by a corrected test with Holm."""
    cut = record.runs[record.runs["depth"].notna() & record.runs["slim"].isna() & (record.runs["frozen"] > 0)]
    rows = with_points(cut)
    rows = rows[rows["frozen"] == rows["point"]]
    if rows["point"].nunique() < 2:
        return lacking("fixed_features", "second cut of a frozen backbone", "depth=n with frozen=n is one")
    values = {str(dataset): str(metric) for dataset, metric in rows.groupby("dataset")["metric"].first().items()}
    whole = int(rows["point"].max())
    columns = ["start", "metric", "value", "source", "frozen", "point"]
    frame = rows.drop(columns=[name for name in columns if name != "source"]).assign(
        depth=rows["point"].astype("Int64")
    )
    tests = compare(frame, "depth", whole, value=values, family=("dataset",), unfinished="use")
    shared = [name for name in ("dataset", "model", "source") if name in tests]
    known = [*shared, "depth", "difference", "low", "high", "p", "p_holm", "folds", "reason"]
    told = tests[tests["folds"] > 0][known].rename(columns={"depth": "point"})
    if told.duplicated([*shared, "point"]).any():
        return lacking("fixed_features", "single setting beside the cut", "fixed features differ in another axis too")
    data = summarise(rows, "value", ["dataset", "model", "source", "metric", "point"])
    data = data.merge(told, on=[*shared, "point"], how="left", validate="many_to_one")
    p = rows.merge(told, on=[*shared, "point"], how="left", validate="many_to_one")["p_holm"]
    ticks = [_with_p(point, value) for point, value in zip(rows["point"], p, strict=True)]
    drawn = rows.assign(panel=panel_names(rows, ("dataset", "model", "source")), x=ticks, hue="frozen backbone")
    drawn = drawn.sort_values(["panel", "point"], kind="stable")
    figure = bars(drawn, y_label="score on the test part", note=f"p against point {whole}: corrected t, Holm")
    shows = f"test score of frozen backbones cut at each point, and tests of each against point {whole}"
    return Plate(name="fixed_features", shows=shows, data=data, keys=keys_of(rows), figure=figure)


def _with_p(point: int, p: float) -> str:
    if pd.isna(p):
        return str(point)
    return f"{point}\np < 0.001" if p < 0.001 else f"{point}\np = {p:.3f}"


def _of_methods(runs: pd.DataFrame) -> pd.DataFrame:
    """The cells of each method with `method` and `point`; the whole network is `FTL`, fixed features are none."""
    pieces = []
    for axis, name in METHODS.items():
        others = [other for other in METHODS if other != axis]
        alone = runs[runs[others].fillna(0).eq(0).all(axis="columns") & runs[axis].fillna(0).gt(0)]
        pieces.append(alone.assign(method=name, point=alone[axis].astype("int64")))
    rows = pd.concat(pieces, ignore_index=True)
    rows = rows[(rows["head"] == "pool") & (rows["slim_factor"] == 2)]
    rows = rows[rows["backbone_decay"].isin([1.0, 10.0])]
    most = fill_blocks(rows.assign(depth=pd.NA)).get("depth") if len(rows) else pd.Series(dtype="int64")
    whole = (rows["method"] == METHODS["depth"]) & (rows["point"] == most)
    plain_whole = runs[runs[list(METHODS)].fillna(0).eq(0).all(axis="columns") & (runs["source"] != "random")]
    bare = with_points(plain_whole).assign(method="FTL")
    return pd.concat([rows.assign(method=rows["method"].mask(whole, "FTL")), bare], ignore_index=True)


def _means(rows: pd.DataFrame) -> pd.DataFrame:
    """Per target, model, method and point: the selecting score, test scores and seconds per epoch."""
    by = [*_TOLD, "also", "point"]
    rows = apart(rows.assign(seconds_per_epoch=seconds_per_epoch(rows)), [*_TOLD, "point", *METHODS])
    rows = _of_one_device(rows, by)
    numbers = [name for name in (SELECTS, *BOTH, "seconds_per_epoch") if name in rows]
    groups = rows.groupby(by, as_index=False)
    wanted = {f"{name}_{kind}": (name, kind) for name in numbers for kind in ("mean", "std")}
    wanted |= {name: (name, _in_one) for name in DEVICES.values() if name in rows}
    found = groups.agg(**wanted, n=("key", "nunique"))  # type: ignore[call-overload]
    found = found.rename(columns={name: str(name).replace("_std", "_sd") for name in found})
    costs = [name for name in COSTS if name in rows]
    return found.merge(groups[costs].mean(), on=by, validate="one_to_one") if costs else found


def _of_one_device(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The rows without the times of groups whose cells ran, or whose networks were measured, on several devices."""
    for time, device in DEVICES.items():
        if device in rows and time in rows:
            several = rows.groupby(by)[device].transform(lambda names: names.nunique(dropna=False)) > 1
            rows = rows.assign(**{time: rows[time].mask(several)})
    return rows


def _in_one(names: pd.Series) -> str:
    return ", ".join(sorted(names.dropna().unique()))


def _best(rows: pd.DataFrame, stage: str) -> pd.DataFrame:
    """Of each target, model and method the point of the highest selecting score; of equal ones the first."""
    found = _means(rows)
    if f"{SELECTS}_mean" not in found:
        raise ValueError(f"the runs have no {SELECTS}, by which a method's point is chosen; score AUPRC in validation")
    ranked = found.sort_values(f"{SELECTS}_mean", ascending=False, kind="stable")
    return ranked.drop_duplicates([*_TOLD, "also"]).assign(stage=stage)
