"""Wilcoxon's signed-rank test over targets, with its exact distribution also where differences are tied."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.statistics.scored import Floats

_MOST_EXACT = 200
"""Differences up to which the distribution is counted; of more it is normal to many digits."""


@dataclass(frozen=True, kw_only=True)
class SignedRank:
    """The test; what is NaN has its reason."""

    n: int
    """Differences that are not 0; the others say nothing."""
    zeros: int
    positive: float
    """Sum of the ranks of positive differences."""
    negative: float
    p: float
    """Two-sided, of a distribution of differences that is symmetric about 0."""
    smallest_p: float
    """The p of n differences of one sign: what this number of targets can come to at all, 2^(1 - n)."""
    rank_biserial: float
    """(positive - negative) / (positive + negative), in [-1, 1] (Kerby 2014)."""
    exact: bool
    reason: str


def signed_rank_test(differences: Floats) -> SignedRank:
    """Wilcoxon 1945: zeros are left out, then absolute differences are ranked, ties by their mean rank.

    Up to 200 differences the p is exact: the share of all 2^n signs of these very ranks whose positive sum is as far
    from its mean. Beyond, the normal approximation with its variance corrected for ties and for continuity.

    Args:
        differences: (n,), finite: one a target, independent of each other. Targets that share patients are not.

    Raises:
        ValueError: when a difference is not finite.
    """
    values = np.asarray(differences, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{(~np.isfinite(values)).sum()} of {len(values)} differences are not finite; leave no gaps")
    told = values[values != 0]
    ranks = stats.rankdata(np.abs(told))
    positive, negative = float(ranks[told > 0].sum()), float(ranks[told < 0].sum())
    reason = "" if len(told) else ("all differences are 0" if len(values) else "there is no difference")
    exact = len(told) <= _MOST_EXACT
    p = np.nan if reason else (_exact_p if exact else _normal_p)(ranks, min(positive, negative))
    return SignedRank(
        n=len(told),
        zeros=len(values) - len(told),
        positive=positive,
        negative=negative,
        p=p,
        smallest_p=0.5 ** (len(told) - 1) if len(told) else np.nan,
        rank_biserial=np.nan if reason else (positive - negative) / (positive + negative),
        exact=exact,
        reason=reason,
    )


def _exact_p(ranks: Floats, smaller: float) -> float:
    """The share of signs whose smaller sum is at most this one, counted rank by rank; doubled ranks are whole."""
    doubled = np.rint(2 * ranks).astype(int)
    shares = np.zeros(doubled.sum() + 1)  # of the signs so far that give each sum
    shares[0] = 1.0
    for each in doubled:
        added = np.zeros_like(shares)
        added[each:] = shares[:-each]
        shares = (shares + added) / 2
    return float(min(1.0, 2 * shares[: round(2 * smaller) + 1].sum()))


def _normal_p(ranks: Floats, smaller: float) -> float:
    sd = float(np.sqrt((ranks**2).sum())) / 2
    return float(min(1.0, 2 * stats.norm.sf((ranks.sum() / 2 - smaller - 0.5) / sd)))
