"""Tests of the differences of two settings within one target: over folds, whose training parts overlap.

Differences are taken of paired cells before they come here; seeds of a fold are averaged before as well.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import optimize, stats

from analysis.statistics.scored import Floats


@dataclass(frozen=True, kw_only=True)
class MeanDifference:
    """A mean of differences, how sure it is, and what could have been found; what is NaN has its reason."""

    n: int
    mean: float
    sd: float
    """Of a sample: n - 1 in the denominator."""
    se: float
    """Standard error of the mean."""
    t: float
    df: int
    p: float
    """Two-sided."""
    low: float
    high: float
    """Ends of the interval of the mean."""
    d_z: float
    """mean / sd (Cohen 1988, section 2.3.5), uncorrected for small n."""
    detectable: float
    """The smallest true mean, of either sign, that is found with the given power if the sd is the one seen."""
    reason: str


def corrected_t_test(differences: Floats, *, ratio: float, level: float = 0.95, power: float = 0.8) -> MeanDifference:
    """Nadeau & Bengio's corrected resampled t-test (2003, section 3, eq. 16) of a mean difference of 0.

    t = mean / sqrt((1 / n + ratio) sd^2) with n - 1 degrees of freedom. The ratio stands for the correlation of
    numbers from overlapping training parts, ratio / (1 + ratio), which no data can tell; it is a heuristic, in practice
    conservative. A ratio of 0 is the ordinary paired t-test, right for independent differences only.

    Args:
        differences: (n,), finite, one a fold.
        ratio: test images (or patients) / training images (or patients), >= 0.
        level: of confidence, in (0, 1); 1 - level is also the error for which `detectable` is.
        power: with which `detectable` is found, in (1 - level, 1).

    Fewer than two differences, or equal ones, have no p; `reason` says so.

    Raises:
        ValueError: when a difference is not finite, or the ratio is below 0.
    """
    values = np.asarray(differences, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{(~np.isfinite(values)).sum()} of {len(values)} differences are not finite; leave no gaps")
    if not ratio >= 0:
        raise ValueError(f"ratio {ratio} of test to training images is not >= 0; 1/3 is that of 60/20/20 %")
    n = len(values)
    mean = float(values.mean()) if n else math.nan
    sd = float(values.std(ddof=1)) if n > 1 else math.nan
    reason = _why_not(values)
    se = math.nan if reason else math.sqrt(1 / n + ratio) * sd
    t = mean / se if not reason else math.nan
    half = math.nan if reason else float(stats.t.ppf((1 + level) / 2, n - 1)) * se
    return MeanDifference(
        n=n,
        mean=mean,
        sd=sd,
        se=se,
        t=t,
        df=max(n - 1, 0),
        p=float(2 * stats.t.sf(abs(t), n - 1)) if not reason else math.nan,
        low=mean - half,
        high=mean + half,
        d_z=mean / sd if not reason else math.nan,
        detectable=math.nan if reason else se * detectable_in_se(n - 1, level=level, power=power),
        reason=reason,
    )


@lru_cache(maxsize=1024)
def detectable_in_se(df: int, *, level: float = 0.95, power: float = 0.8) -> float:
    """How many standard errors a mean must be from 0 for a two-sided t-test to find it with some power.

    The noncentrality at which |t| exceeds its critical value with that probability: exact, both tails counted.

    Args:
        df: degrees of freedom, >= 1.
        level: 1 - the error of the first kind.
        power: in (1 - level, 1).

    Raises:
        ValueError: when the power is not in that range.
    """
    if not 1 - level < power < 1:
        raise ValueError(f"power {power} is not between the error {1 - level:g} and 1; 0.8 is usual")
    critical = float(stats.t.ppf((1 + level) / 2, df))

    def lack(shift: float) -> float:
        found = stats.nct.sf(critical, df, shift) + stats.nct.cdf(-critical, df, shift)
        return float(found) - power

    highest = critical + 2.0
    while lack(highest) < 0:
        highest *= 2
    return float(optimize.root_scalar(lack, bracket=(0.0, highest), xtol=1e-10).root)


def _why_not(values: Floats) -> str:
    if len(values) < 2:
        return f"{len(values)} difference{'s' if len(values) != 1 else ''}: a t-test needs at least 2"
    if np.ptp(values) <= 1e-12 * np.abs(values).max():
        return f"all {len(values)} differences are equal: their sd is 0"
    return ""
