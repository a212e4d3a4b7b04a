"""`python -m analysis.transferability STUDY OUT`: did scores without training foresee what serves best?

For each target and score, how alike the score and the measured test score order the candidates: sources and models as
the study's cells start from them. Scores only order; what is published here says how far to trust that order.
"""

import sys
from collections.abc import Sequence

import pandas as pd

from analysis.axes import axes_of
from analysis.clouds import regressions
from analysis.plates import Lack, Plate, keys_of, lacking
from analysis.probe_figures import asked
from analysis.statistics.rank_correlation import rank_correlation
from analysis.study_record import Record, run
from sweeper.axes import SHARED_AXES
from sweeper.cell import AXES

_OF_TARGETS = ("dataset", "protocol", "fraction", "shots")
"""Axes of the images that make a target; size, pixels and augmentation are the candidate's."""
_MOST_PANELS = 12


def scored(runs: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """One row per target, score and candidate: `target`, `score`, `candidate`, `start`, `x`, `value` and `n`.

    `x` is the mean of the score and `value` the mean of the target's own test score over seeds and folds, of `n` cells
    that have both. A target is data and recipe: scores under one recipe never mix with those under another.

    Args:
        runs: `key` and `value`, as of a record.
        rows: of the probe, with `start`.
    """
    columns = ["target", "score", "candidate", "start", "x", "value", "n"]
    if rows.empty:
        return pd.DataFrame(columns=columns)
    settings = asked(rows.drop(columns="scores", errors="ignore"))
    rows = rows.assign(
        score=rows["metric"], x=rows["value"], value=rows["key"].map(runs.set_index("key")["value"]), asked=settings
    )
    rows = rows.dropna(subset=["x", "value"])
    varied = [axis for axis in axes_of(rows) if rows[axis].nunique(dropna=False) > 1 and axis not in SHARED_AXES]
    of_target = [axis for axis in varied if axis in _OF_TARGETS or AXES.get(axis, "recipe") == "recipe"]
    of_candidate = [axis for axis in varied if axis not in of_target and axis not in ("model", "source")]
    rows = rows.assign(
        target=_words(rows, ["dataset", *(axis for axis in of_target if axis != "dataset")]) + rows["asked"],
        candidate=_words(rows, ["model", "start", *of_candidate]),
    )
    found = rows.groupby(["target", "score", "candidate", "start"], sort=False, as_index=False).agg(
        x=("x", "mean"), value=("value", "mean"), n=("key", "nunique")
    )
    return found[columns]


def correlations(record: Record) -> Plate | Lack:
    """The table, and a scatter per target and score."""
    rows = scored(record.runs, record.of_probe("transferability"))
    if rows.empty:
        return lacking("transferability", "rows of the probe transferability", "declare it among the sweep's probes")
    found = orders(rows)
    shown = rows.assign(panel=rows["target"] + ": " + rows["score"], hue=rows["start"])
    panels = list(shown["panel"].unique())
    cut = f"; the first {_MOST_PANELS} of {len(panels)}" if len(panels) > _MOST_PANELS else ""
    figure = regressions(
        shown[shown["panel"].isin(panels[:_MOST_PANELS])],
        x_label="score without training",
        y_label="measured",
        across=min(4, len(panels)),
        note=f"a dot per model and start, means over seeds and folds{cut}",
    )
    return Plate(
        name="transferability",
        shows="rank correlation of transferability scores with the measured test score over models and starts",
        data=found,
        keys=keys_of(record.of_probe("transferability")),
        figure=figure,
    )


def candidates(record: Record) -> Plate | Lack:
    """The numbers behind the table: each candidate's score and what was measured."""
    rows = scored(record.runs, record.of_probe("transferability"))
    if rows.empty:
        return lacking("candidates", "rows of the probe transferability", "declare it among the sweep's probes")
    shows = "means over seeds and folds of each transferability score and of the measured test score"
    keys = keys_of(record.of_probe("transferability"))
    return Plate(name="candidates", shows=shows, data=rows, keys=keys)


def orders(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per target and score: `n` candidates, the three correlations of `rank_correlation` and their ends."""
    return pd.DataFrame([_of_group(each) for _, each in rows.groupby(["target", "score"])])


def _of_group(rows: pd.DataFrame) -> dict[str, object]:
    found = rank_correlation(rows["x"], rows["value"])
    told: dict[str, object] = {"target": rows["target"].iloc[0], "score": rows["score"].iloc[0], "n": found.n}
    for name in ("spearman", "kendall", "weighted"):
        each = getattr(found, name)
        told |= {name: each.value, f"{name}_low": each.low, f"{name}_high": each.high}
    return told


def _words(rows: pd.DataFrame, axes: list[str]) -> pd.Series:
    """One text per row: the first axis's value, then the others' with their names."""
    texts = rows[axes[0]].astype("str")
    for axis in axes[1:]:
        own = rows[axis].astype(object).where(rows[axis].notna(), "all").map(str)
        texts = texts + ", " + (own if axis == "start" else f"{axis} " + own)
    return texts


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the tables and returns the exit code."""
    return run("transferability", (correlations, candidates), arguments)


if __name__ == "__main__":
    sys.exit(main())
