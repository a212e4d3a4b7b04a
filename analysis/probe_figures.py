"""Figures that several studies share: lines of a probe over blocks, maps of all pairs of blocks, first-layer filters.

Each study says which cells it shows and what its lines are; here they are averaged over what repeats a setting.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from analysis.axes import axes_of
from analysis.clouds import filter_grids
from analysis.panels import draw
from analysis.plates import Lack, Plate, keys_of, lacking
from analysis.shapes import heat_maps
from analysis.sheets import line_chart
from analysis.statistics import summarise
from analysis.study_record import Record, apart
from sweeper import store
from sweeper.axes import SHARED_AXES
from sweeper.filters import COUNT, first_filters, tiled

_NO_SETTINGS = (
    *("study", "key", "probe", "probe_key", "state", "across", "block", "other", "other_block", "metric", "value"),
    *("start", "lr_found", "tuned", "layer", "point", "also"),
)
"""Columns of probe rows that are neither axes nor settings, or settings that the figures show otherwise."""
_OF_STARTS = ("source", "blocks", "rest", "norms", "gabor", "slim")
"""Axes that the name of a start tells."""
_BARE = ("dataset", "model", "source", "map")
"""Axes whose values say what they are."""
_MOST_MAPS = 12
_MOST_FILTERS = 4
"""Cells whose filters are shown: one per source."""
_OF = {"knn": " of k-NN", "reinit": ", the block put back"}
LABELS = {"cka": "CKA", "cca": "CCA", "l2": "L2 from the start", "svcca": "SVCCA", "pwcca": "PWCCA"}


def panel_names(rows: pd.DataFrame, axes: Sequence[str] = ("dataset", "model")) -> pd.Series:
    """One text per row from those of some axes that vary, else from the first; what a row has no value of is left out.

    Data sets, models and sources are told by their names alone, others with their axis, as `width 8`.
    """
    shown = [axis for axis in axes if axis in rows and rows[axis].nunique(dropna=False) > 1] or [axes[0]]
    texts = [[_told(axis, value) for value in rows[axis]] for axis in shown]
    names = [", ".join(filter(None, each)) for each in zip(*texts, strict=True)]
    return pd.Series(names, index=rows.index, dtype="str")


def _told(axis: str, value: object) -> str:
    if pd.isna(value):  # type: ignore[call-overload]
        return ""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if axis in _BARE else f"{axis} {text}"


def of_cells(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that are of trained cells by themselves: compared with no other cell, and of no starting state."""
    return rows[rows["other"].isna() & ~_of_start(rows)]


def of_pairs(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that compare two cells, with `tuned`: whether as trained, and not as they started."""
    pairs = rows[rows["other"].notna()]
    return pairs.assign(tuned=~_of_start(pairs))


def asked(rows: pd.DataFrame) -> pd.Series:
    """Per row the settings of its probe that are not the same in all rows, as `, k 20`; numbers of two never mix."""
    known = {*axes_of(rows), *_NO_SETTINGS}
    told = [name for name in rows if name not in known and rows[name].nunique(dropna=False) > 1]
    texts = [[f", {name} {value}" for value in rows[name].fillna("none")] for name in told]
    return pd.Series(["".join(each) for each in zip(*texts, strict=True)] or "", index=rows.index, dtype="str")


def others(rows: pd.DataFrame, record: Record) -> pd.Series:
    """Per row what the other cell of its pair has besides its start, as `, fraction 0.1`; no mean is over several.

    Seeds and folds are not told: pairs of them repeat a comparison. Where pairs were asked for across several lists of
    axes, that is told too, for one pair may be in two. Empty where a cell is compared with itself.
    """
    known = record.runs.set_index("key")
    pairs = rows["other"].isin(known.index)
    texts = pd.Series("", index=rows.index, dtype="str")
    for axis in axes_of(rows):
        if axis in known and axis not in (*_OF_STARTS, *SHARED_AXES):
            theirs = rows["other"].map(known[axis]).astype(object)
            own = rows[axis].astype(object)
            other = pairs & (theirs != own) & ~(theirs.isna() & own.isna())
            texts = texts.where(~other, texts + f", {axis} " + theirs.fillna("all").astype("str"))
    if "across" in rows and rows.loc[pairs, "across"].nunique() > 1:
        texts = texts.where(~pairs, texts + ", across " + rows["across"].astype("str"))
    return texts


def block_lines(
    record: Record, *, name: str, probes: Sequence[str], metric: Literal["own", "score"], line: str = "start"
) -> Plate | Lack:
    """A probe's value by block, a line per start, a panel per target and model; means over seeds and folds.

    Args:
        probes: names, of which the first that was recorded is shown.
        metric: the one of the probe's own name, or the target's own score.
        line: the column that tells lines apart.
    """
    rows = of_cells(record.of_probe(*probes))
    wanted = record.runs.set_index("key")["metric"].str.removeprefix("test_")
    rows = rows[rows["metric"] == (rows["probe"] if metric == "own" else rows["key"].map(wanted))]
    rows = rows[rows["other_block"].isna() | (rows["other_block"] == rows["block"])]
    if metric == "own":
        rows = rows[rows["block"].notna()]
    if rows.empty:
        return lacking(name, f"rows of the probe {' or '.join(probes)}", "declare it among the sweep's probes")
    rows = rows.assign(block=rows["block"].fillna(0), asked=asked(rows))
    by = ["dataset", "model", "grain", "asked", line, "probe", "metric", "block"]
    found = summarise(apart(rows, by), "value", [*by, "also"])
    found = found.astype({"block": "int64"})
    kind, grain = str(found["probe"].iloc[0]), "/".join(sorted(found["grain"].unique()))
    label = found["metric"].map(lambda each: LABELS.get(str(each), str(each))).astype("str") + _OF.get(kind, "")
    whole = " (0: none)" if (found["block"] == 0).any() else ""
    panel = panel_names(found, ("dataset", "model", "grain")) + found["asked"] + found["also"]
    chart = line_chart(found, panel=panel, line=found[line], x="block", x_label=f"{grain}{whole}", y_label=label)
    shows = f"{kind} by {grain}, one line per {line}, mean and sd (n - 1) over seeds and folds"
    return Plate(name=name, shows=shows, data=found, keys=keys_of(rows), figure=draw(chart))


def pair_maps(record: Record, *, name: str, probes: Sequence[str] = ("cka", "cca")) -> Plate | Lack:
    """The similarity of every block with every block, a map per start and what it was compared with; means."""
    rows = record.of_probe(*probes)
    rows = rows[rows["other_block"].notna() & rows["block"].notna()]
    crossed = (rows["other_block"] != rows["block"]).groupby([rows["key"], rows["probe_key"]]).transform("any")
    rows = rows[crossed.astype(bool) & (rows["metric"] == rows["probe"])]
    if rows.empty:
        return lacking(name, "rows of all pairs of blocks", 'declare Cka(layers="all") among the sweep\'s probes')
    against = rows["other"].map(record.runs.set_index("key")["start"])
    state = pd.Series(np.where(_of_start(rows), ", untrained", ""), index=rows.index)
    state = others(rows, record) + state + asked(rows.drop(columns="against", errors="ignore"))
    rows = rows.assign(against=against.fillna(_itself(rows)).astype("str") + state)
    known = {"dataset": rows["dataset"], "model": rows["model"], "start": rows["start"], "against": rows["against"]}
    by = [*known, "metric", "block", "other_block"]
    found = summarise(apart(rows.assign(**known), by), "value", [*by, "also"])
    shown = panel_names(found) + ": " + found["start"] + " and " + found["against"] + found["also"]
    maps = found.assign(
        panel=shown, x=found["other_block"].astype(int), y=found["block"].astype(int), value=found["mean"]
    )
    first = list(maps["panel"].unique())[:_MOST_MAPS]
    cut = f"; the first {_MOST_MAPS} of {maps['panel'].nunique()} maps" if maps["panel"].nunique() > _MOST_MAPS else ""
    kind = LABELS.get(str(found["metric"].iloc[0]), str(found["metric"].iloc[0]))
    figure = heat_maps(
        maps[maps["panel"].isin(first)],
        x_label="block of what it is compared with",
        y_label="block",
        note=f"{kind}, mean over seeds and folds{cut}",
    )
    return Plate(name=name, shows=f"{kind} of all pairs of blocks{cut}", data=found, keys=keys_of(rows), figure=figure)


def filter_pictures(record: Record, *, name: str = "filters") -> Plate | Lack:
    """The first layer's filters before and after training, of the first cell of each start."""
    pictures, keys, rows = {}, set(), []
    for start, cells in record.runs.groupby("start", sort=False):
        if len(keys) == _MOST_FILTERS or record.site is None:
            break
        cell = cells.iloc[0]
        read = {
            when: first_filters(
                store.artifact(record.site, cell["run_id"], f"{file}.safetensors"),
                channels=3 if cell["input"] == "rgb" else 1,
            )
            for when, file in (("before", "start"), ("after", "best"))
        }
        states = {when: filters for when, filters in read.items() if filters is not None}
        if len(states) < len(read):
            continue
        keys.add(cell["key"])
        for when, filters in states.items():
            pictures[f"{cell['dataset']}, {cell['model']}, {start}: {when}"] = tiled(filters)
            rows += [
                {"key": cell["key"], "start": start, "when": when, "filter": number, "row": y, "column": x, "value": v}
                for number, each in enumerate(filters[:COUNT, 0])
                for (y, x), v in ((place, float(each[place])) for place in _places(each.shape))
            ]
    if not pictures:
        return lacking(name, "stored state with filters of a first layer", "patch embeddings and such are not drawn")
    note = f"the first {COUNT} filters, their first channel; black: the smallest value of all, white: the largest"
    return Plate(
        name=name,
        shows=f"first-layer filters before and after training, of one cell per start; {note}",
        data=pd.DataFrame(rows),
        keys=frozenset(keys),
        figure=filter_grids(pictures, note=note),
    )


def _itself(rows: pd.DataFrame) -> pd.Series:
    """What a cell's state is compared with where that is the cell's own; older records have starting states alone."""
    trained = rows["against"] == "best" if "against" in rows else pd.Series(False, index=rows.index)
    return pd.Series(np.where(trained, "itself, trained", "its start"), index=rows.index)


def _of_start(rows: pd.DataFrame) -> pd.Series:
    """Whether the state that rows are of is the starting one; older records have trained states alone."""
    return rows["state"] == "start" if "state" in rows else pd.Series(False, index=rows.index)


def _places(shape: Sequence[int]) -> list[tuple[int, int]]:
    return [(y, x) for y in range(shape[0]) for x in range(shape[1])]
