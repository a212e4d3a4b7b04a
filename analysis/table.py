"""The result table of a study: mean, spread and number of its cells for every setting, as numbers and as text.

No metric is computed here; cells are only averaged over the seeds and folds that repeat a setting.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.frames import varying
from analysis.names import shorten
from sweeper.axes import SHARED_AXES
from sweeper.data import DATASETS
from sweeper.metric import PARTS

_FIRST = ("dataset", "model", "source", "depth", "blocks", "fraction")
_ALL_OF_THEM = ("depth", "blocks")
"""Axes whose missing value means all blocks."""


def table(frame: pd.DataFrame, metric: str | None = None, by: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per setting, sorted: its axes, `metric`, `mean`, `sd`, `n`, `undefined` and `lr_found`.

    `n` cells have the metric and enter mean and sd; in `undefined` others it is NaN, since the images lack classes that
    it needs. `lr_found` is the geometric mean of all of them.

    Args:
        frame: rows of `frames.runs`.
        metric: a column of the frame; None is `test_` and the metric by which the row's data set selects epochs.
        by: the axes that make a setting; None is those that vary, but `seed` and `fold` (see `setting_axes`).

    The sd is that of a sample (n - 1 in the denominator), NaN where n is 1.

    Raises:
        ValueError: when the frame has no such metric, or a cell has no value of it although no class was missing.
    """
    by = list(setting_axes(frame) if by is None else by)
    metrics = _metric_of_rows(frame) if metric is None else pd.Series(metric, index=frame.index, dtype="str")
    rows = frame.assign(metric=metrics, value=_values(frame, metrics), log_lr=np.log(frame["lr_found"]))
    found = rows.groupby([*by, "metric"], dropna=False, sort=False, as_index=False).agg(
        mean=("value", "mean"),
        sd=("value", "std"),
        n=("value", "count"),
        undefined=("value", lambda values: values.isna().sum()),
        lr_found=("log_lr", "mean"),
    )
    found["lr_found"] = np.exp(found["lr_found"])
    return found.sort_values(by, ignore_index=True)


def setting_axes(frame: pd.DataFrame) -> list[str]:
    """The axes that tell the settings of a frame apart, `source` last, so that sources stand under one another.

    Of the axes that vary, `seed` and `fold` repeat a setting; one that follows from those before it (as an image size
    that each data set has for itself) is left out.
    """
    candidates = [axis for axis in varying(frame) if axis not in SHARED_AXES]
    candidates.sort(key=lambda axis: _FIRST.index(axis) if axis in _FIRST else len(_FIRST))
    kept: list[str] = []
    for axis in candidates:
        if _groups(frame, [*kept, axis]) > (_groups(frame, kept) if kept else 1):
            kept.append(axis)
    return sorted(kept, key=lambda axis: axis == "source") or ["dataset"]


def as_text(found: pd.DataFrame) -> str:
    """A table as aligned text, `0.873 ± 0.012 (3)` for mean, sd and n; `(2 of 3)` where one of 3 is undefined."""
    axes = list(found.columns[: found.columns.get_loc("metric")])
    columns = {name: as_words(found[name]) for name in axes}
    same = found["metric"].nunique() == 1
    if not same:
        columns["metric"] = list(found["metric"])
    scores = zip(found["mean"], found["sd"], found["n"], found["undefined"], strict=True)
    columns[found["metric"].iloc[0] if same else "score"] = [_score(*each) for each in scores]
    columns["lr_found"] = [f"{rate:.1e}" for rate in found["lr_found"]]
    return _align(columns, right={name for name in axes if _is_number(found[name])})


def as_words(values: pd.Series) -> list[str]:
    """An axis's values as people read them: short names, few digits, `all` for all blocks, True or False."""
    if _is_number(values):
        missing = "all" if values.name in _ALL_OF_THEM else "-"
        return [missing if pd.isna(value) else f"{value:g}" for value in values]
    name_of = shorten(values.dropna().astype("str"))
    return ["-" if pd.isna(value) else name_of(str(value)) for value in values]


def _metric_of_rows(frame: pd.DataFrame) -> pd.Series:
    return frame["dataset"].map({name: f"test_{DATASETS[name].metric}" for name in frame["dataset"].unique()})


def _values(frame: pd.DataFrame, metrics: pd.Series) -> pd.Series:
    """Of each row, the value of its own metric."""
    unknown = sorted(set(metrics) - set(frame.columns))
    if unknown:
        known = ", ".join(name for name in map(str, frame) if name.startswith(("test_", "best_val_")))
        raise ValueError(f"the runs have no metric '{unknown[0]}'; they have {known}")
    values = pd.Series(np.nan, index=frame.index)
    for metric in metrics.unique():
        values = values.where(metrics != metric, frame[metric])
    missing = values.isna() & ~_lacks_classes(frame, metrics)
    if missing.any():
        first = frame.assign(metric=metrics)[missing].iloc[0]
        raise ValueError(f"cell {first['key']} of study '{first['study']}' has no {first['metric']}")
    return values


def _lacks_classes(frame: pd.DataFrame, metrics: pd.Series) -> pd.Series:
    """Whether the images of each row's metric are of too few classes for some metric, which is NaN then."""
    lacks = pd.Series(False, index=frame.index)
    for part in PARTS:
        count = f"{part}classes_unranked"
        if count in frame:
            lacks |= metrics.str.startswith(part) & (frame[count] > 0)
    return lacks


def _groups(frame: pd.DataFrame, axes: Sequence[str]) -> int:
    return len(frame[list(axes)].drop_duplicates())


def _is_number(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _score(mean: float, sd: float, number: int, undefined: int) -> str:
    count = f"({number} of {number + undefined})" if undefined else f"({number})"
    if pd.isna(mean):
        return f"- {count}"
    return f"{mean:.3f} {count}" if pd.isna(sd) else f"{mean:.3f} ± {sd:.3f} {count}"


def _align(columns: dict[str, list[str]], right: set[str]) -> str:
    """The columns under their names, padded with blanks on one side."""
    widths = {name: max(len(name), *map(len, cells)) for name, cells in columns.items()}
    lines = [tuple(columns), *zip(*columns.values(), strict=True)]
    padded = (
        [
            cell.rjust(widths[name]) if name in right else cell.ljust(widths[name])
            for name, cell in zip(columns, line, strict=True)
        ]
        for line in lines
    )
    return "\n".join("  ".join(cells).rstrip() for cells in padded)
