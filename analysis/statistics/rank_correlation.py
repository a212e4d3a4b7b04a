"""How alike two numbers order the same things: Spearman's, Kendall's and weighted Kendall's correlation.

Which things are ordered, and by what, is the caller's to say; no p-value is given, for the intervals say more.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

FEWEST = 5
"""Pairs from which there are intervals: Fieller's needs more than 4."""
_DRAWS = 1000


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A correlation, in [-1, 1], and the ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class RankCorrelation:
    """Three correlations of the same pairs; NaN where one side is constant, and of fewer than 2 pairs."""

    n: int
    """Pairs."""
    spearman: Interval
    """Pearson's correlation of the ranks, ties by their mean rank."""
    kendall: Interval
    """Tau-b, which leaves out pairs of pairs that are tied."""
    weighted: Interval
    """Tau in which two count by the sum of 1 / rank of both, 1 the highest, by x and by y alike (Vigna 2015):
    the order of the best weighs most."""


def rank_correlation(x: npt.ArrayLike, y: npt.ArrayLike, *, level: float = 0.95, seed: int = 0) -> RankCorrelation:
    """How alike x and y order their pairs; of both, the highest stands first.

    The intervals are on the scale of atanh: half widths z sqrt((1 + r^2 / 2) / (n - 3)) of Spearman's (Bonett & Wright
    2000), z sqrt(0.437 / (n - 4)) of Kendall's (Fieller, Hartley & Pearson 1957). That of the weighted one, of which no
    law is known, holds the middle of 1000 draws of the pairs with replacement, without draws in which a side is
    constant: of few pairs it is too narrow. An order without any exchange is certain to none of the three, but has no
    width in them: of few pairs look at n. Intervals of fewer than 5 pairs are NaN.

    Args:
        x: (pairs,), finite, as a score.
        y: (pairs,), finite, as what was measured.
        level: share of studies whose interval holds the truth, in (0, 1).
        seed: of the draws.

    Raises:
        ValueError: different numbers of x and y, one that is not finite, or a level out of range.
    """
    left, right = (np.asarray(each, dtype=np.float64) for each in (x, y))
    if left.ndim != 1 or left.shape != right.shape:
        raise ValueError(f"a rank correlation needs pairs; the two sides have shapes {left.shape} and {right.shape}")
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        raise ValueError("a rank correlation needs finite numbers; leave out the pairs that lack one")
    if not 0 < level < 1:
        raise ValueError(f"level {level} of an interval must be between 0 and 1")
    n, z = len(left), float(stats.norm.ppf((1 + level) / 2))
    if n < 2 or not (np.ptp(left) and np.ptp(right)):
        none = Interval(value=math.nan, low=math.nan, high=math.nan)
        return RankCorrelation(n=n, spearman=none, kendall=none, weighted=none)
    rho = float(stats.spearmanr(left, right).statistic)  # type: ignore[attr-defined]
    tau = float(stats.kendalltau(left, right).statistic)  # type: ignore[attr-defined]
    enough = n >= FEWEST
    return RankCorrelation(
        n=n,
        spearman=_around(rho, z * math.sqrt((1 + rho**2 / 2) / (n - 3)) if enough else math.nan),
        kendall=_around(tau, z * math.sqrt(0.437 / (n - 4)) if enough else math.nan),
        weighted=_drawn(left, right, level, seed) if enough else _around(_weighted(left, right), math.nan),
    )


def _around(value: float, half: float) -> Interval:
    """The interval whose ends lie this far away on the scale of atanh."""
    if math.isnan(half) or abs(value) > 1 - 1e-12:
        ends = (math.nan, math.nan) if math.isnan(half) else (value, value)
    else:
        ends = math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half)
    return Interval(value=value, low=ends[0], high=ends[1])


def _drawn(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], level: float, seed: int) -> Interval:
    generator = np.random.default_rng(seed)
    drawn = [generator.integers(0, len(x), len(x)) for _ in range(_DRAWS)]
    found = [_weighted(x[each], y[each]) for each in drawn if np.ptp(x[each]) and np.ptp(y[each])]
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value=_weighted(x, y), low=float(low), high=float(high))


def _weighted(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    """`scipy.stats.weightedtau`, ten times faster for the few pairs that there are."""
    signs = np.sign(x[:, None] - x), np.sign(y[:, None] - y)
    found = []
    for first, second in ((x, y), (y, x)):
        each = np.empty(len(x))
        each[np.lexsort((-second, -first))] = 1 / np.arange(1, len(x) + 1)
        weights = each[:, None] + each
        products = [float((a * b * weights).sum()) for a, b in (signs, signs[:1] * 2, signs[1:] * 2)]
        found.append(products[0] / math.sqrt(products[1] * products[2]))
    return float(np.mean(found))
