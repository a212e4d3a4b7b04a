"""How far targets lie from other image sets: the table of distances that the probe `Fid` recorded.

A distance is of one extractor, the starting state of a cell: those of two models or two sources are never averaged.
"""

import math

import pandas as pd

from analysis.plates import Lack, Plate, keys_of, lacking
from analysis.probe_figures import panel_names
from analysis.shapes import heat_maps
from analysis.statistics import summarise
from analysis.study_record import Record, apart

_TOLD = ("to", "to_fold", "stimuli")
"""Settings of the probe: the other set, its fold, and the images of either; distances of fewer images are larger."""


def domain_distances(record: Record, *, name: str = "domains") -> Plate | Lack:
    """The squared Frechet distance (Heusel et al. 2017) of every target to every other set, a map per extractor.

    Rows of the table: target `dataset`, other set `to`, the extractor as `model` and `start`, `size`, the probe's other
    settings, `metric` (`fid`, and its two parts `fid_means` and `fid_covariances`), mean and sd over seeds and folds.
    """
    rows = record.of_probe("fid")
    if rows.empty or "to" not in rows:
        return lacking(name, "rows of the probe fid", 'declare Fid(to="...") among the sweep\'s probes')
    told = [setting for setting in _TOLD if setting in rows]
    by = ["dataset", *told, "model", "start", "size", "metric"]
    found = summarise(apart(rows, by), "value", [*by, "also"])
    shown = found[found["metric"] == "fid"]
    same = [setting for setting in told if setting != "to" and shown[setting].nunique(dropna=False) > 1]
    extra = [column for column in ("size", *same) if shown[column].nunique(dropna=False) > 1]
    extractor = shown["model"] + ", " + shown["start"] + shown["also"]
    panel = extractor + (", " + panel_names(shown, extra) if extra else "")
    figure = heat_maps(
        pd.DataFrame({"panel": panel, "x": shown["to"], "y": shown["dataset"], "value": shown["mean"]}),
        x_label="other set",
        y_label="target",
        digits=_digits(float(shown["mean"].max())),
        note="squared Frechet distance of training images, means over seeds and folds; compare within a panel only",
    )
    shows = "squared Frechet distance of targets to other sets by extractor, mean and sd (n - 1) over seeds and folds"
    return Plate(name=name, shows=shows, data=found, keys=keys_of(rows), figure=figure)


def _digits(largest: float) -> int:
    """Behind the point, such that the largest distance has three that count: extractors differ by orders."""
    return min(6, max(0, 2 - math.floor(math.log10(largest)))) if largest > 0 else 0
