"""Confidence intervals from stored predictions: patients are drawn again, within classes, and scored again.

What varies is which patients were tested. How much another training (seed) or other training patients (fold) would
change the number is not in these intervals; `compare` is for that.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.statistics.resampling import draw, interval_of, resampling_of
from analysis.statistics.scored import check_same_images, read_scored
from analysis.statistics.weighted import metrics_of


def bootstrap(
    predictions: pd.DataFrame,
    task: str,
    metrics: Sequence[str] = ("auroc", "auprc"),
    *,
    part: str = "test",
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """A row per metric: `metric`, `part`, `value`, `low`, `high`, `level`, `resamples`, `lacking`, `patients`,
    `images` and `reason`.

    Percentile intervals (Efron & Tibshirani 1993, chapter 13) of a bootstrap of whole patients, all of whose images
    come along, within strata (Davison & Hinkley 1997, sections 3.2 and 3.8): a patient's stratum is that of its classes
    which has fewest patients (no class at all is one more), so that each resample has as many patients of the rarest
    class as the part. In strata of m patients the spread is too small by sqrt((m - 1) / m).

    A resample that nevertheless lacks a class that the metric needs has no value: it is counted in `lacking` and left
    out, and where that is more than 5 % of them there is no interval. There is none either where a class has one
    patient, for it does not vary, or where the metric of the part itself is undefined; `reason` says so then, and `low`
    and `high` are NaN. Ties count one half in an AUROC, as ever.

    Args:
        predictions: as of `read_scored`: one cell.
        task: as there.
        metrics: ids of `sweeper.metric` (see `weighted.metrics_of`), and `auroc_class_N`, `auprc_class_N`.
        part: whose images.
        resamples: how many, >= 100.
        level: of confidence, in (0, 1).
        seed: of the draws: equal seeds draw equal patients for equal `image`, `patient` and label columns.
    """
    plan = resampling_of(resamples, level, seed)
    scored = read_scored(predictions, task, part=part)
    measure = metrics_of(scored, metrics)
    values = measure(np.ones((1, len(scored.images))))[:, 0]
    draws = draw(scored, measure, len(metrics), plan)
    rows = [
        {"metric": metric, "part": part} | interval_of(scored, float(value), drawn, plan)
        for metric, value, drawn in zip(metrics, values, draws, strict=True)
    ]
    return pd.DataFrame(rows)


def bootstrap_difference(
    first: pd.DataFrame,
    second: pd.DataFrame,
    task: str,
    metrics: Sequence[str] = ("auroc", "auprc"),
    *,
    part: str = "test",
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """A row per metric of first - second, both scored on the same resamples: as `bootstrap`, with `first` and `second`.

    Raises:
        ValueError: when the two are not of the same images, patients and labels.
    """
    plan = resampling_of(resamples, level, seed)
    one, other = read_scored(first, task, part=part), read_scored(second, task, part=part)
    check_same_images(one, other)
    measures = metrics_of(one, metrics), metrics_of(other, metrics)
    values = [measure(np.ones((1, len(one.images))))[:, 0] for measure in measures]
    draws = draw(one, lambda weights: measures[0](weights) - measures[1](weights), len(metrics), plan)
    rows = []
    for metric, a, b, drawn in zip(metrics, *values, draws, strict=True):
        known = {"metric": metric, "part": part, "first": float(a), "second": float(b)}
        rows.append(known | interval_of(one, float(a - b), drawn, plan))
    return pd.DataFrame(rows)
