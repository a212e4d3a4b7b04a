"""DeLong's test: whether two cells rank the same images differently well, by the variance of their two AUROCs.

What varies is which patients were tested, as in `bootstrap`; trainings and splits do not.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from analysis.statistics.scored import Floats, Truth, Whole, check_same_images, read_scored


@dataclass(frozen=True, kw_only=True)
class Aurocs:
    """AUROCs of several scorings of the same images."""

    values: Floats
    """(scorings,)."""
    covariance: Floats
    """(scorings, scorings); NaN where it is undefined."""
    reason: str
    """Why it is; empty where it is not."""


@dataclass(frozen=True, kw_only=True)
class AurocDifference:
    """Two AUROCs of the same images; what is NaN has its reason."""

    first: float
    second: float
    difference: float
    """first - second."""
    se: float
    """Standard error of the difference."""
    z: float
    p: float
    """Two-sided."""
    low: float
    high: float
    """Ends of the interval of the difference."""
    level: float
    positives: int
    negatives: int
    patients: int
    reason: str


def delong(truth: Truth, scores: Floats, patients: npt.ArrayLike | None = None) -> Aurocs:
    """AUROCs, a tie counting one half, and their covariance.

    DeLong, DeLong & Clarke-Pearson 1988 by the midranks of Sun & Xu 2014: O(n log n). Where a patient has several
    images, the covariance is that of Obuchowski 1997 (equations 2 to 5), in which patients and not images are
    independent; of one image a patient the two are the same.

    Args:
        truth: (images,).
        scores: (scorings, images), finite.
        patients: whose each image is, (images,); None is a patient for each.

    An absent class leaves all NaN; fewer than two patients with positives or with negatives leave the covariance NaN.
    """
    count = len(scores)
    lacking = np.full((count, count), np.nan)
    if truth.all() or not truth.any():
        absent = "a positive" if not truth.any() else "a negative"
        return Aurocs(values=lacking[0], covariance=lacking, reason=f"no image is {absent}")
    own = pd.factorize(np.asarray(patients))[0] if patients is not None else np.arange(len(truth))
    above, under = _placements(truth, scores)
    values = above.mean(axis=1)
    few = [name for name, kind in (("positives", truth), ("negatives", ~truth)) if len(np.unique(own[kind])) < 2]
    if few:
        return Aurocs(values=values, covariance=lacking, reason=f"only 1 patient has {few[0]}")
    covariance = _covariance(above - values[:, None], under - values[:, None], own[truth], own[~truth])
    return Aurocs(values=values, covariance=covariance, reason="")


def delong_test(
    first: pd.DataFrame, second: pd.DataFrame, task: str, *, number: int = 1, part: str = "test", level: float = 0.95
) -> AurocDifference:
    """The test of two cells' AUROCs of one class against all others, on the same images.

    Where all images are ranked alike, or all differences are, the variance is 0 and there is no p.

    Args:
        first: predictions of one cell, as of `read_scored`.
        second: those of the other.
        task: as there.
        number: the class.
        part: whose images.
        level: of confidence, in (0, 1).

    Raises:
        ValueError: when the two are not of the same images, patients and labels, or there is no such class.
    """
    one, other = read_scored(first, task, part=part), read_scored(second, task, part=part)
    check_same_images(one, other)
    if not 0 <= number < one.truth.shape[1]:
        raise ValueError(f"there is no class {number}; the predictions have classes 0..{one.truth.shape[1] - 1}")
    seen = one.known[:, number]
    truth, patients = one.truth[seen, number], one.patients[seen]
    scores = np.stack([one.scores[seen, number], other.scores[seen, number]])
    found = delong(truth, scores, patients)
    difference = float(found.values[0] - found.values[1])
    variance = np.nan if found.reason else _variance_of_difference(truth, scores, patients)
    settled = variance < 1e-24  # what rounding leaves; one pair ranked otherwise among 10^5 images leaves 10^-21
    reason = found.reason or ("the variance is 0: both cells rank every pair alike or all otherwise" if settled else "")
    se = np.nan if reason else float(np.sqrt(variance))
    half = float(stats.norm.ppf((1 + level) / 2)) * se
    return AurocDifference(
        first=float(found.values[0]),
        second=float(found.values[1]),
        difference=difference,
        se=se,
        z=difference / se,
        p=float(2 * stats.norm.sf(abs(difference / se))),
        low=difference - half,
        high=difference + half,
        level=level,
        positives=int(truth.sum()),
        negatives=int((~truth).sum()),
        patients=len(np.unique(patients)),
        reason=reason,
    )


def _placements(truth: Truth, scores: Floats) -> tuple[Floats, Floats]:
    """Of each positive the share of negatives under it, of each negative that of positives above it.

    (scorings, positives) and (scorings, negatives); ties count one half.
    """
    together = stats.rankdata(scores, axis=1)
    positives, negatives = scores[:, truth], scores[:, ~truth]
    above = (together[:, truth] - stats.rankdata(positives, axis=1)) / negatives.shape[1]
    under = 1 - (together[:, ~truth] - stats.rankdata(negatives, axis=1)) / positives.shape[1]
    return above, under


def _variance_of_difference(truth: Truth, scores: Floats, patients: Whole) -> float:
    """Of the first AUROC less the second, by the differences themselves: exactly 0 where these do not vary."""
    above, under = (placed[:1] - placed[1:] for placed in _placements(truth, scores))
    difference = above.mean()
    return float(_covariance(above - difference, under - difference, patients[truth], patients[~truth])[0, 0])


def _covariance(above: Floats, under: Floats, theirs: Whole, others: Whole) -> Floats:
    """Of the AUROCs, from how far each placement is from its mean, summed over each patient.

    Args:
        above: (scorings, positives).
        under: (scorings, negatives).
        theirs: patient of each positive.
        others: patient of each negative.
    """
    total = int(max(theirs.max(), others.max())) + 1
    of_positives, of_negatives = _sums(above, theirs, total), _sums(under, others, total)
    with_positives, with_negatives = len(np.unique(theirs)), len(np.unique(others))
    patients = len(np.union1d(theirs, others))
    m, n = above.shape[1], under.shape[1]
    s10 = of_positives @ of_positives.T * with_positives / ((with_positives - 1) * m)
    s01 = of_negatives @ of_negatives.T * with_negatives / ((with_negatives - 1) * n)
    s11 = of_positives @ of_negatives.T * patients / (patients - 1)
    return s10 / m + s01 / n + (s11 + s11.T) / (m * n)


def _sums(values: Floats, groups: Whole, total: int) -> Floats:
    sums = [np.bincount(groups, weights=each, minlength=total) for each in values]
    return np.array(sums, dtype=np.float64)
