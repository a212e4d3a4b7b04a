"""The figures of Juodelyte et al. 2023, from rows of a study or of the authors' own tables.

Where the rows come from is told in `hidden_representations` and `published_representations`. Nothing is tested here.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis import look
from analysis.clouds import correlations, regressions
from analysis.panels import draw
from analysis.plates import Plate
from analysis.shapes import boxes
from analysis.sheets import line_chart
from analysis.statistics import summarise

ORDER = (
    *("thyroid", "ddti", "ddti_graded", "breast", "busi", "chest", "chest_xray", "mammograms", "cbis_ddsm", "knee"),
    *("isic", "isic2018", "pcam-small", "pcam_small"),
)
"""Of the targets from left to right, under the study's names and ours; others follow."""
HEAD_FIRST = ", head first"
_AUC = "AUC x 100 of each fold (and seed)"


def auc_plate(name: str, rows: pd.DataFrame, *, keys: frozenset[str], published: Sequence[Path] = ()) -> Plate:
    """The box plot of AUC x 100 by target, source, and whether the head was trained first; rows of `auc_rows`."""
    told = _in_order(rows)
    drawn = told.assign(panel="", x=told["dataset"], hue=_setting(told), value=100 * told["auc"])
    figure = boxes(drawn, y_label="AUC x 100", note=_AUC, order=_settings(drawn["hue"]))
    return Plate(name=name, shows=_AUC, data=told, keys=keys, figure=figure, published=tuple(published))


def mean_plate(name: str, rows: pd.DataFrame, *, keys: frozenset[str], published: Sequence[Path] = ()) -> Plate:
    """The table of AUC x 100: mean, sd (n - 1) and n, and `text` with 1 and 2 decimals, as in the study."""
    told = _in_order(rows).assign(auc_100=100 * rows["auc"])
    found = summarise(told, "auc_100", ["dataset", "source", "freeze", "metric"])
    text = [f"{mean:.1f} ± {sd:.2f}" for mean, sd in zip(found["mean"], found["sd"], strict=True)]
    data = _in_order(found.assign(text=text))
    return Plate(name=name, shows="mean and sd (n - 1) of AUC x 100", data=data, keys=keys, published=tuple(published))


def layer_plate(name: str, rows: pd.DataFrame, *, keys: frozenset[str], published: Sequence[Path] = ()) -> Plate:
    """Similarity by `layer`, a line per `pair`, a panel per target, from 0 to 1; rows of probes."""
    order = {layer: place for place, layer in enumerate(rows["layer"].unique())}
    found = summarise(rows, "value", ["dataset", "metric", "pair", "layer"])
    found = _in_order(found.sort_values("layer", key=lambda names: names.map(order), kind="stable"))
    label = found["metric"].str.upper()
    chart = line_chart(found, panel=found["dataset"], line=found["pair"], x="layer", x_label="", y_label=label)
    figure = draw(chart)
    for axes in figure.axes:
        axes.set_ylim(0, 1.02)
    shows = "similarity of representations by layer, mean and sd (n - 1) over folds and seeds"
    return Plate(name=name, shows=shows, data=found, keys=keys, figure=figure, published=tuple(published))


def mistake_plate(name: str, rows: pd.DataFrame, *, keys: frozenset[str], published: Sequence[Path] = ()) -> Plate:
    """The box plot of agreement by target, `measure` observed or independent; no head-first cells."""
    told = _in_order(rows)
    shows = "share of test images on which two sources' networks are both right or both wrong"
    drawn = told.assign(panel="", x=told["dataset"], hue=told["measure"])
    figure = boxes(
        drawn, y_label="share of images", note="both right or both wrong", order=_observed_first(drawn["hue"])
    )
    return Plate(name=name, shows=shows, data=told, keys=keys, figure=figure, published=tuple(published))


def gain_plate(name: str, rows: pd.DataFrame, *, keys: frozenset[str], published: Sequence[Path] = ()) -> Plate:
    """Gain over random weights against similarity, a panel per source and layer; r and line are in the figure."""
    rows = rows.sort_values("source", kind="stable")
    drawn = rows.assign(panel=rows["source"] + ", " + rows["layer"].astype("str"), hue=rows["dataset"])
    drawn = drawn.assign(x=drawn["value"], value=drawn["gain"])
    lines = correlations(drawn).rename(columns={"n": "pairs"})
    kind = str(rows["metric"].iloc[0]).upper()
    figure = regressions(
        drawn,
        x_label=f"{kind} of the network before and after fine-tuning",
        y_label="gain in AUC",
        across=min(5, rows["layer"].nunique()),
        note="gain: (AUC - AUC from random) / AUC from random; r of Pearson over all targets' folds",
    )
    columns = ["panel", "source", "layer", "dataset", "fold", "key", "x", "gain"]
    data = drawn[columns].rename(columns={"x": kind.lower()}).merge(lines, on="panel", validate="many_to_one")
    shows = f"{kind} of each network before and after fine-tuning against its gain in AUC over random weights"
    return Plate(name=name, shows=shows, data=data, keys=keys, figure=figure, published=tuple(published))


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    known = {name: place for place, name in enumerate(ORDER)}
    places = rows["dataset"].map(lambda name: (known.get(str(name), len(ORDER)), str(name)))
    return rows.loc[places.sort_values(kind="stable").index]


def _observed_first(names: pd.Series) -> list[str]:
    return sorted(names.unique(), key=lambda name: (not name.startswith("observed"), name))


def _setting(rows: pd.DataFrame) -> pd.Series:
    return rows["source"] + rows["freeze"].map({True: HEAD_FIRST, False: ""})


def _settings(names: pd.Series) -> list[str]:
    """Sources side by side, each first without its head trained first, `random` last."""
    return sorted(names.unique(), key=lambda name: (name == look.BASELINE, name))
