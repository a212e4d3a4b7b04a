"""Patients drawn again, within classes: the resamples that intervals are made of, as weightings of the images.

What an interval is of (a metric, a difference, the mean of repeats) is for `intervals` and `repeats`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from analysis.statistics.scored import Floats, Scored, Whole
from analysis.statistics.weighted import Measure

_BLOCK = 50
"""Resamples weighted at once: few enough for a processor's cache. A constant, since draws come in its order."""
MOST_LACKING = 0.05
"""Share of resamples that may lack a class that the metric needs; of more there is no interval."""


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How resamples are drawn."""

    resamples: int
    level: float
    seed: int


def resampling_of(resamples: int, level: float, seed: int) -> Resampling:
    """How resamples are to be drawn.

    Raises:
        ValueError: fewer than 100 resamples, or a level outside (0, 1).
    """
    if resamples < 100:
        raise ValueError(f"{resamples} resamples are too few for the ends of an interval; draw at least 100")
    if not 0 < level < 1:
        raise ValueError(f"level {level} is not in (0, 1); 0.95 is usual")
    return Resampling(resamples=resamples, level=level, seed=seed)


def interval_of(scored: Scored, value: float, draws: Floats, plan: Resampling) -> dict[str, object]:
    """The columns of a number's percentile interval, as `bootstrap` has them, or the reason why there is none.

    Args:
        value: the number of the part itself.
        draws: that of each resample, (resamples,); NaN where it lacks a class.
    """
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


def _undefined(value: float, lacking: int, plan: Resampling) -> str:
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


def draw(scored: Scored, measure: Measure, metrics: int, plan: Resampling) -> Floats:
    """Of each metric its value in each resample, (metrics, resamples)."""
    if int(scored.patients.max()) == 0:
        return np.full((metrics, plan.resamples), np.nan)
    return np.concatenate([measure(weights) for weights in weights_of(scored, plan)], axis=1)


def weights_of(scored: Scored, plan: Resampling) -> Iterator[Floats]:
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
