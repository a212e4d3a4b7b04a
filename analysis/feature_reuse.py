"""`python -m analysis.feature_reuse STUDY OUT`: the figures of Matsoukas et al. 2022 from a study's rows.

Gains by data size and distance (the dot figure), the distances, Table 1, the sweep over transferred layers and its
convergence, and what probes say by layer: k-NN, re-initialisation, L2, CKA. Nothing is tested here.
"""

import sys
from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from analysis import look
from analysis.clouds import sized_dots
from analysis.domains import domain_distances
from analysis.panels import draw
from analysis.plates import Lack, Plate, keys_of, lacking
from analysis.probe_figures import asked, block_lines, pair_maps, panel_names
from analysis.sheets import line_chart
from analysis.statistics import summarise
from analysis.study_record import Record, apart, run
from sweeper.data import DATASETS

RANDOM, STATISTICS, WHOLE, FEATURES = "RI", "ST", "WT", "WT-ST"
"""The study's names: random start, statistics of the source alone, all of its values, its values up to a layer."""
_STARTS = "random='random', source='imagenet' and blocks=0 with rest='stats'"
_START_AXES = ("source", "blocks", "rest")
"""The axes that tell the starts."""
_NEEDS_SWEEP = "blocks=n with rest='stats' is a start with features up to n"


def starts(record: Record) -> pd.DataFrame:
    """The runs of whole networks with `init`: RI, ST, WT or WT-ST; other starts are left out."""
    runs = record.runs
    whole = runs["depth"].isna() & runs["slim"].isna() & runs["gabor"].isna()
    stats = runs["rest"] == "stats"
    kinds = [
        runs["source"] == look.BASELINE,
        runs["blocks"].isna(),
        stats & (runs["blocks"] == 0).fillna(False),
        stats & (runs["blocks"] > 0).fillna(False),
    ]
    init = np.select([kind.to_numpy(dtype=bool) for kind in kinds], [RANDOM, WHOLE, STATISTICS, FEATURES], default="")
    return runs.assign(init=init)[whole & (init != "")]


def table_1(record: Record) -> Plate | Lack:
    """Mean and sd of each model, target and start."""
    rows = starts(record)
    rows = rows[rows["init"].isin([RANDOM, STATISTICS, WHOLE])]
    if rows.empty:
        return lacking("table_1", "cell of a whole network", f"the starts are {_STARTS}")
    by = ["model", "dataset", "metric", "source", "init"]
    found = summarise(apart(rows, by), "value", [*by, "also"])
    text = [_as_text(mean, sd, n) for mean, sd, n in zip(found["mean"], found["sd"], found["n"], strict=True)]
    shows = "mean and sd (n - 1) of each target's own score by model and start"
    return Plate(name="table_1", shows=shows, data=found.assign(text=text), keys=keys_of(rows))


def gains(record: Record) -> Plate | Lack:
    """The dot figure: what transfer gains against the target's size and distance, and how much of it are features.

    The size of a dot is WT / RI, its shade (WT - ST) / WT, of means over seeds and folds; its height the FID of source
    and target where that was probed, else the gain itself. Its place is the published number of images. A panel's
    distances are those that its own network with the source's weights sees.
    """
    rows = starts(record)
    rows = apart(rows[rows["init"].isin([RANDOM, STATISTICS, WHOLE])], ["model", "dataset", "init", *_START_AXES])
    if lost := [init for init in (RANDOM, STATISTICS, WHOLE) if init not in set(rows["init"])]:
        return lacking("gains", f"cell that starts by {lost[0]}", f"the starts are {_STARTS}")
    by, drawn = ["model", "dataset", "also"], rows["init"] == RANDOM
    means = rows[~drawn].pivot_table(index=[*by, "source"], columns="init", values="value", aggfunc="mean")
    random = rows[drawn].groupby(by)["value"].mean().rename(RANDOM)
    means = means.reset_index().merge(random.reset_index(), on=by).dropna()
    told = means.assign(
        images=means["dataset"].map({name: _images(name) for name in means["dataset"].unique()}),
        gain=means[WHOLE] / means[RANDOM],
        features=(means[WHOLE] - means[STATISTICS]) / means[WHOLE],
    ).dropna(subset="images")
    if told.empty:
        return lacking("gains", "target with a published number of images and all three starts", "see counts of a set")
    told = told.merge(_distances(record, rows), on=[*by, "source"], how="left").fillna({"asked": ""})
    far = bool(told["fid"].notna().all())
    height = told["fid"] if far else told["gain"]
    source = "" if told["source"].nunique() == 1 else ", " + told["source"]
    panel = told["model"] + source + told["also"] + (told["asked"] if far else "")
    drawn = told.assign(panel=panel, name=told["dataset"], x=told["images"], value=height)
    drawn = drawn.assign(size=told["gain"], shade=told["features"])
    figure = sized_dots(
        drawn,
        x_label="images of the target",
        y_label="FID from the source" if far else "WT / RI",
        size="WT / RI",
        colour="(WT - ST) / WT",
        log_x=drawn["x"].nunique() > 1,
    )
    shows = "gain of transfer (WT / RI) and share of it due to features ((WT - ST) / WT) by target; means"
    keys = keys_of(rows[rows["dataset"].isin(told["dataset"])])
    return Plate(name="gains", shows=shows, data=told, keys=keys, figure=figure)


def sweep(record: Record) -> Plate | Lack:
    """The score against the number of layers that receive the source's values, the others its statistics."""
    rows = _by_layers(record)
    if rows.empty:
        return lacking("sweep", "cell with features up to a layer", _NEEDS_SWEEP)
    return _sweep_plate("sweep", rows, "value", rows["metric"], "score by number of layers with the source's values")


def convergence(record: Record) -> Plate | Lack:
    """The epochs until the best validation score against the same number of layers."""
    rows = _by_layers(record)
    if rows.empty:
        return lacking("convergence", "cell with features up to a layer", _NEEDS_SWEEP)
    rows = rows.assign(epochs=rows["best_epoch"] / rows["validations"])  # what is recorded counts validations
    label = pd.Series("epochs to the best score", index=rows.index)
    return _sweep_plate("convergence", rows, "epochs", label, "epochs to the best validation score likewise")


def _by_layers(record: Record) -> pd.DataFrame:
    """The cells of the sweep, `line` and `layers`; random starts stand at every number of layers, as a level."""
    rows = starts(record)
    rows = rows[rows["norms"] == "copy"]
    several = rows[rows["init"] == FEATURES].groupby(["dataset", "model"])["blocks"].nunique() > 0
    if not several.any():
        return rows.head(0).assign(layers=0, line="")
    rows = rows.merge(several[several].reset_index()[["dataset", "model"]], on=["dataset", "model"])
    counted = rows[(rows["init"] != RANDOM) & rows["blocks"].notna()]
    most = counted.groupby(["dataset", "model"])["blocks"].max() + 1
    layers = rows["blocks"].fillna(rows.set_index(["dataset", "model"]).index.map(most).to_series(index=rows.index))
    own = rows.assign(layers=layers.astype(int), line="features, then statistics")
    level = own[own["init"] == RANDOM].drop(columns="layers")
    places = own[own["init"] != RANDOM][["dataset", "model", "layers"]].drop_duplicates()
    random = level.merge(places, on=["dataset", "model"]).assign(line=look.BASELINE)
    return pd.concat([own[own["init"] != RANDOM], random], ignore_index=True)


def _sweep_plate(name: str, rows: pd.DataFrame, value: str, label: pd.Series, shows: str) -> Plate:
    by = ["dataset", "model", "label", "line", "layers"]
    found = summarise(apart(rows.assign(label=label.to_numpy()), by), value, [*by, "also"])
    note = "layers with the source's values; the rightmost point is WT, 0 is ST"
    chart = line_chart(
        found,
        panel=panel_names(found) + found["also"],
        line=found["line"],
        x="layers",
        x_label="layers",
        y_label=found["label"],
        note=note,
    )
    return Plate(name=name, shows=f"{shows}, mean and sd (n - 1)", data=found, keys=keys_of(rows), figure=draw(chart))


def _distances(record: Record, rows: pd.DataFrame) -> pd.DataFrame:
    """`fid` of each `model`, `dataset`, `also` and `source`, of cells that start as all of the source; means.

    Where the set of the source's name is among the others, the distance is from that one. Distances from others and
    with other settings of the probe, as `asked` tells them, stand in rows of their own.

    Args:
        rows: the cells, with `init` and `also`.
    """
    by = ["model", "dataset", "also", "source", "asked"]
    found = record.of_probe("fid")
    whole = rows[rows["init"] == WHOLE].set_index("key")["also"]
    found = found[(found["metric"] == "fid") & found["key"].isin(whole.index)]
    if found.empty:
        return pd.DataFrame({name: pd.Series(dtype="str") for name in by} | {"fid": pd.Series(dtype="float64")})
    own = found["to"] == found["source"]
    found = found[own | ~own.groupby(found["source"]).transform("any")]
    found = found.assign(also=found["key"].map(whole), asked=asked(found))
    return found.groupby(by)["value"].mean().rename("fid").reset_index()


def _images(dataset: str) -> float:
    """The published number of images; NaN where none is published, or an image counts in several classes."""
    known = DATASETS[dataset]
    return float(sum(known.counts.values())) if known.counts and known.task is None else np.nan


def _as_text(mean: float, sd: float, number: int) -> str:
    return f"{mean:.3f} ({number})" if np.isnan(sd) else f"{mean:.3f} ± {sd:.3f} ({number})"


FIGURES = (
    *(gains, domain_distances, table_1, sweep, convergence),
    partial(block_lines, name="knn", probes=["knn"], metric="score"),
    partial(block_lines, name="reinit", probes=["reinit"], metric="score"),
    partial(block_lines, name="l2", probes=["l2"], metric="own"),
    partial(block_lines, name="cka_start", probes=["cka"], metric="own"),
    partial(pair_maps, name="cka_maps", probes=["cka"]),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the figures and returns the exit code."""
    return run("feature_reuse", FIGURES, arguments)


if __name__ == "__main__":
    sys.exit(main())
