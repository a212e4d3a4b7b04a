"""Friedman's test of several settings over targets, and which of them Nemenyi's test cannot tell apart.

Demšar 2006. Ranks depend on which settings are compared together, as Benavoli et al. 2016 object: for a single pair
use `signed_rank_test`. `diagram` draws what is found here.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import stats


@dataclass(frozen=True, kw_only=True)
class RankGroups:
    """Mean ranks of settings over targets, the best first."""

    names: tuple[str, ...]
    ranks: tuple[float, ...]
    """Mean rank of each, 1 is best."""
    targets: int
    chi_square: float
    """Friedman's statistic, corrected for ties, with settings - 1 degrees of freedom."""
    p: float
    """Of Iman & Davenport's F (1980), which is less conservative than chi square."""
    critical_difference: float
    """Mean ranks that differ by this or more differ significantly (Nemenyi)."""
    level: float
    groups: tuple[tuple[str, ...], ...]
    """Largest sets of at least two neighbours whose mean ranks all differ by less; none where all differ."""


def rank_groups(scores: pd.DataFrame, *, higher: bool = True, level: float = 0.95) -> RankGroups:
    """The settings (columns) ranked on each target (rows), a tie by its mean rank.

    Critical difference: q sqrt(k (k + 1) / (6 n)) for k settings and n targets, q the studentised range over sqrt(2)
    with infinitely many degrees of freedom. All pairs are compared, so that it needs no further correction.

    Args:
        scores: (targets, settings): one mean a target and setting, of one metric a row.
        higher: whether a higher score is better.
        level: 1 - the error of the first kind.

    Raises:
        ValueError: when a score is missing, or there are fewer than 3 settings or 2 targets.
    """
    gaps = scores.isna()
    if gaps.any(axis=None):
        target = gaps.index[gaps.any(axis=1)][0]
        setting = gaps.columns[gaps.loc[target]][0]
        raise ValueError(f"target {target} has no score of '{setting}'; finish the grid or leave one of them out")
    n, k = scores.shape
    if k < 3 or n < 2:
        raise ValueError(
            f"{k} settings on {n} targets: ranks need at least 3 on 2; use the signed-rank test for a pair"
        )
    ranks = stats.rankdata(scores.to_numpy(dtype=np.float64) * (-1 if higher else 1), axis=1)
    mean = ranks.mean(axis=0)
    order = np.argsort(mean, kind="stable")
    chi_square, p = _friedman(ranks)
    q = float(stats.studentized_range.ppf(level, k, np.inf)) / np.sqrt(2)
    critical = float(q * np.sqrt(k * (k + 1) / (6 * n)))
    names = tuple(str(scores.columns[place]) for place in order)
    return RankGroups(
        names=names,
        ranks=tuple(mean[order].tolist()),
        targets=n,
        chi_square=chi_square,
        p=p,
        critical_difference=critical,
        level=level,
        groups=_groups(names, mean[order], critical),
    )


def _friedman(ranks: np.ndarray) -> tuple[float, float]:
    """Chi square (ties corrected as Conover 1999, section 5.8) and the p of F; (0, 1) where all settings tie."""
    n, k = ranks.shape
    spread = float((ranks**2).sum()) - n * k * (k + 1) ** 2 / 4
    if spread <= 0:
        return 0.0, 1.0
    sums = ranks.sum(axis=0)
    chi_square = (k - 1) * float(((sums - n * (k + 1) / 2) ** 2).sum()) / spread
    rest = n * (k - 1) - chi_square
    if rest <= 1e-9:
        return chi_square, 0.0  # the same order on every target: F is infinite
    f = (n - 1) * chi_square / rest
    return chi_square, float(stats.f.sf(f, k - 1, (k - 1) * (n - 1)))


def _groups(names: tuple[str, ...], ranks: np.ndarray, critical: float) -> tuple[tuple[str, ...], ...]:
    ends = np.searchsorted(ranks, ranks + critical, side="left")  # behind the last one that is nearer
    longest = [0, *(end for end in ends)]
    grown = [start for start, (before, end) in enumerate(pairwise(longest)) if end > before and end - start > 1]
    return tuple(names[start : ends[start]] for start in grown)
