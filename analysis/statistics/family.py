"""Several tests at once, and plain summaries: Holm's correction over a declared family; mean, sd and n of groups."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.statistics.scored import Floats


def holm(p_values: npt.ArrayLike) -> Floats:
    """Holm 1979: p-values that may each be held against the error which the whole family is to keep.

    A missing p stays missing but counts in the family, as if it were 1: once it is there, no other becomes larger.

    Args:
        p_values: (tests,), in [0, 1] or NaN.

    Raises:
        ValueError: when one is outside [0, 1].
    """
    values = np.asarray(p_values, dtype=np.float64)
    if ((values < 0) | (values > 1)).any():
        raise ValueError(f"p-value {values[(values < 0) | (values > 1)][0]:g} is not in [0, 1]")
    if not len(values):
        return values
    missing = np.isnan(values)
    order = np.argsort(np.where(missing, 1.0, values), kind="stable")
    steps = np.where(missing, 1.0, values)[order] * np.arange(len(values), 0, -1)
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    corrected[missing] = np.nan
    return corrected


def summarise(frame: pd.DataFrame, value: str, by: Sequence[str]) -> pd.DataFrame:
    """One row per group of axes, sorted: the axes, `mean`, `sd`, `n` and `undefined`.

    The sd is that of a sample (n - 1 in the denominator), NaN where n is 1. `undefined` values are NaN and left out of
    the others. A missing value of an axis is a value.

    Raises:
        ValueError: when a column is missing.
    """
    if lacks := [name for name in (value, *by) if name not in frame]:
        raise ValueError(f"the frame has no column '{lacks[0]}'; it has {', '.join(map(str, frame))}")
    groups = frame.groupby(list(by), dropna=False, sort=True)[value]
    return groups.agg(mean="mean", sd="std", n="count", undefined=lambda values: int(values.isna().sum())).reset_index()
