"""Confidence intervals from stored predictions: patients are drawn again, within classes, and scored again.

What varies is which patients were tested. How much another training (seed) or other training patients (fold) would
change the number is not in these intervals; `compare` is for that.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.statistics.scored import Floats, Scored, Whole, check_same_images, read_scored
from analysis.statistics.weighted import Measure, metrics_of

_BLOCK = 50
"""Resamples weighted at once: few enough for a processor's cache. A constant, since draws come in its order."""
MOST_LACKING = 0.05
"""Share of resamples that may lack a class that the metric needs; of more there is no interval."""


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """How resamples are drawn."""

    resamples: int
    level: float
    seed: int


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
    plan = _checked(resamples, level, seed)
    scored = read_scored(predictions, task, part=part)
    measure = metrics_of(scored, metrics)
    values = measure(np.ones((1, len(scored.images))))[:, 0]
    draws = _draw(scored, measure, len(metrics), plan)
    rows = [
        {"metric": metric, "part": part} | _interval(scored, float(value), drawn, plan)
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
    plan = _checked(resamples, level, seed)
    one, other = read_scored(first, task, part=part), read_scored(second, task, part=part)
    check_same_images(one, other)
    measures = metrics_of(one, metrics), metrics_of(other, metrics)
    values = [measure(np.ones((1, len(one.images))))[:, 0] for measure in measures]
    draws = _draw(one, lambda weights: measures[0](weights) - measures[1](weights), len(metrics), plan)
    rows = []
    for metric, a, b, drawn in zip(metrics, *values, draws, strict=True):
        known = {"metric": metric, "part": part, "first": float(a), "second": float(b)}
        rows.append(known | _interval(one, float(a - b), drawn, plan))
    return pd.DataFrame(rows)


def _checked(resamples: int, level: float, seed: int) -> _Plan:
    if resamples < 100:
        raise ValueError(f"{resamples} resamples are too few for the ends of an interval; draw at least 100")
    if not 0 < level < 1:
        raise ValueError(f"level {level} is not in (0, 1); 0.95 is usual")
    return _Plan(resamples=resamples, level=level, seed=seed)


def _interval(scored: Scored, value: float, draws: Floats, plan: _Plan) -> dict[str, object]:
    lacking = int(np.isnan(draws).sum())
    reason = _few_patients(scored) or _undefined(value, lacking, plan)
    tail = (1 - plan.level) / 2
    ends = (np.nan, np.nan) if reason else np.nanquantile(draws, [tail, 1 - tail])
    return {
        "value": value,
        "low": float(ends[0]),
        "high": float(ends[1]),
        "level": plan.level,
        "resamples": plan.resamples,
        "lacking": lacking,
        "patients": int(scored.patients.max()) + 1,
        "images": len(scored.images),
        "reason": reason,
    }


def _undefined(value: float, lacking: int, plan: _Plan) -> str:
    if np.isnan(value):
        return "the metric is undefined: the part lacks a class that it needs"
    if lacking > MOST_LACKING * plan.resamples:
        return f"{lacking} of {plan.resamples} resamples lack a class that the metric needs"
    return ""


def _few_patients(scored: Scored) -> str:
    """Why patients cannot be drawn again, if they cannot."""
    total = int(scored.patients.max()) + 1
    if total < 2:
        return "the part has 1 patient: nothing can be drawn again"
    patients = _patients_by_class(scored).sum(axis=0)
    alone = np.flatnonzero(patients == 1)
    return f"class {alone[0]} has 1 patient: it would be the same in every resample" if len(alone) else ""


def _patients_by_class(scored: Scored) -> np.ndarray:
    """Whether a patient has an image of a class, (patients, classes)."""
    found = np.zeros((int(scored.patients.max()) + 1, scored.truth.shape[1]), dtype=bool)
    rows, classes = np.nonzero(scored.truth)
    found[scored.patients[rows], classes] = True
    return found


def strata_of(scored: Scored) -> Whole:
    """Of each patient, the class of it that has fewest patients, the first of equals; k if it has none, (patients,)."""
    found = _patients_by_class(scored)
    order = np.argsort(found.sum(axis=0), kind="stable")
    ranked = np.column_stack([found[:, order], np.ones(len(found), dtype=bool)])
    return np.append(order, found.shape[1])[ranked.argmax(axis=1)]


def _draw(scored: Scored, measure: Measure, metrics: int, plan: _Plan) -> Floats:
    """Of each metric its value in each resample, (metrics, resamples)."""
    if int(scored.patients.max()) == 0:
        return np.full((metrics, plan.resamples), np.nan)
    return np.concatenate([measure(weights) for weights in _weights(scored, plan)], axis=1)


def _weights(scored: Scored, plan: _Plan) -> Iterator[Floats]:
    """How often each image was drawn, a block of resamples after the other, (at most 50, images)."""
    strata = strata_of(scored)
    members = [np.flatnonzero(strata == each) for each in np.unique(strata)]
    generator = np.random.default_rng(plan.seed)
    alone = np.array_equal(scored.patients, np.arange(len(scored.patients)))
    for start in range(0, plan.resamples, _BLOCK):
        number = min(_BLOCK, plan.resamples - start)
        counts = np.empty((number, len(strata)))  # of each patient
        for own in members:
            drawn = generator.integers(len(own), size=(number, len(own)))
            drawn += len(own) * np.arange(number)[:, None]
            counts[:, own] = np.bincount(drawn.ravel(), minlength=number * len(own)).reshape(number, -1)
        yield counts if alone else counts[:, scored.patients]
