"""`python -m analysis.throughput STUDY`: how fast cells trained, by model and device, and how well devices were used.

From the recorded rows alone; nothing is measured, and what they do not tell (memory, processors) is not guessed. A
device that was not recorded yet, by an older version, is named `unknown`.
"""

import argparse
import math
import sys
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis import frames
from analysis.cells import finished
from sweeper.site import Site

PAUSE = 600.0
"""Seconds without any cell in progress that are taken for an interruption, not for overhead."""
_RARE = 0.05
"""Share of the time for which so many cells must have been in progress to be slots: records are late by moments."""


def by_model(study: frames.Studies, site: Site | None = None) -> pd.DataFrame:
    """One row per study, model, image size and device, sorted; a cell's seconds are those on its own device slot.

    Columns: `study`, `model`, `size`, `device`, `cells`, `epochs` (passes over the training images, however often one
    is validated); `images_per_second` (training images over training time; median of the validations), with its
    quartiles `images_per_second_25` and `_75`; `seconds_per_epoch` (training and validation; mean of the epochs);
    `seconds_per_cell` (mean); `overhead_per_cell` (mean of the seconds outside of epochs: predictions of the chosen
    state); `share_in_epochs` (seconds in epochs / seconds of the cells, in (0, 1]).

    Raises:
        LookupError: when there is no such study, or none of its cells is finished.
    """
    site = site or Site.from_environment()
    cells = _with_device(frames.runs(study, site))
    if cells.empty:
        raise LookupError(f"no cell of {study!r} is finished at {site.tracking}: run its file first")
    epochs = frames.epochs(study, site).merge(cells[["study", "key", "device"]], on=["study", "key"])
    epochs = epochs.assign(passes=1 / epochs["validations"])  # what is recorded counts validations
    spent = epochs.groupby(["study", "key"], as_index=False).agg(in_epochs=("seconds", "sum"))
    cells = cells.merge(spent, on=["study", "key"], validate="one_to_one")
    by = ["study", "model", "size", "device"]
    rates = epochs.groupby(by)["images_per_second"]
    rows = cells.groupby(by).agg(cells=("key", "size"), total=("total_seconds", "sum"), inside=("in_epochs", "sum"))
    passes = epochs.groupby(by)["passes"].sum()
    return (
        rows.assign(
            epochs=passes,
            images_per_second=rates.median(),
            images_per_second_25=rates.quantile(0.25),
            images_per_second_75=rates.quantile(0.75),
            seconds_per_epoch=rows["inside"] / passes,
            seconds_per_cell=rows["total"] / rows["cells"],
            overhead_per_cell=(rows["total"] - rows["inside"]) / rows["cells"],
            share_in_epochs=rows["inside"] / rows["total"],
        )
        .drop(columns=["total", "inside"])
        .reset_index()
    )


def by_device(
    study: frames.Studies, site: Site | None = None, *, slots: int | None = None, pause: float = PAUSE
) -> pd.DataFrame:
    """One row per study and device: how full its slots were while cells ran.

    A cell was in progress for its `total_seconds` before it was recorded. Columns: `study`, `device`, `cells`; `span`
    (seconds from the first to the last, gaps longer than `pause` left out); `busy` (sum of the cells' seconds);
    `cells_at_once` (busy / span); `slots`; `utilisation` (busy / (span x slots), <= 1 but for the moments by which
    records are late); `overhead_per_cell` (seconds of a slot, per cell, in which no cell trained or was evaluated:
    start-up, data, files, slots that are empty at the end).

    Args:
        slots: cells that could run at once; None takes the most that did for at least 5 % of the span.
        pause: seconds, > 0.

    Raises:
        ValueError: when `slots` is < 1 or `pause` is not > 0.
        LookupError: when there is no such study, or none of its cells is finished.
    """
    if (slots is not None and slots < 1) or not pause > 0:
        raise ValueError(f"slots = {slots} and pause = {pause}: slots must be >= 1 and pause > 0 seconds")
    site = site or Site.from_environment()
    names = [study] if isinstance(study, str) else study
    rows = []
    for name in names:
        found = finished(name, site)
        cells = _with_device(found.rows)
        if cells.empty:
            raise LookupError(f"no cell of '{name}' is finished at {site.tracking}: run its file first")
        ended = cells["run_id"].map({run_id: place.ended for run_id, place in found.places.items()})
        for device, mine in cells.assign(ended=ended).groupby("device"):
            known = {"study": name, "device": device, "cells": len(mine)}
            rows.append(known | _occupancy(mine["ended"].to_numpy(), mine["total_seconds"].to_numpy(), slots, pause))
    return pd.DataFrame(rows).astype({"study": "str", "device": "str"})


def _occupancy(ended: np.ndarray, seconds: np.ndarray, slots: int | None, pause: float) -> dict[str, float]:
    """Span, busy seconds and what follows from them.

    Args:
        ended: (cells,) seconds since some moment.
        seconds: (cells,) of each, >= 0.
    """
    moments = np.concatenate([ended - seconds, ended])
    steps = np.concatenate([np.ones(len(ended)), -np.ones(len(ended))])
    order = np.lexsort((-steps, moments))  # at one moment the beginning first: so an instant cell is in progress
    moments, at_once = moments[order], steps[order].cumsum()
    lasts = np.diff(moments)
    counted = (at_once[:-1] > 0) | (lasts <= pause)
    span = float(lasts[counted].sum())
    busy = float(seconds.sum())
    levels = range(1, int(at_once.max()) + 1)
    reached = [level for level in levels if lasts[at_once[:-1] >= level].sum() >= _RARE * span]
    taken = slots or max(reached, default=1)
    return {
        "span": span,
        "busy": busy,
        "cells_at_once": busy / span if span else math.nan,
        "slots": taken,
        "utilisation": busy / (span * taken) if span else math.nan,
        "overhead_per_cell": (span * taken - busy) / len(seconds),
    }


def _with_device(cells: pd.DataFrame) -> pd.DataFrame:
    return cells.assign(device=cells["device"].fillna("unknown"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints both tables and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m analysis.throughput", description="How fast cells trained.")
    parser.add_argument("study", nargs="+", help="a study's name, as in Sweep(name=...)")
    parser.add_argument("--slots", type=int, help="cells that could run at once; default: the most that did")
    chosen = parser.parse_args(arguments)
    try:
        found = by_model(chosen.study), by_device(chosen.study, slots=chosen.slots)
    except (OSError, LookupError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print("\n\n".join(each.to_string(index=False, float_format="{:.4g}".format) for each in found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
