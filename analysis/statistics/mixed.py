"""A mixed model across targets: the mean difference where each target has its own, and folds scatter about it.

Own code for this one model, in which only the ratio of two variances is searched for: statsmodels' MixedLM has the same
numbers, but ended in a singular matrix for 130 of 400 simulated studies of 3 to 8 targets (statsmodels 0.15.0).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, stats

from analysis.statistics.scored import Floats


@dataclass(frozen=True, kw_only=True)
class MixedMean:
    """What the model says; what is NaN has its reason."""

    mean: float
    se: float
    t: float
    df: int
    """Targets - 1: exact where all targets have equally many differences, else an approximation on the safe side."""
    p: float
    """Two-sided."""
    low: float
    high: float
    sd_between: float
    """Of the targets' own means."""
    sd_within: float
    """Of the differences about them."""
    targets: int
    n: int
    reason: str


def mixed_mean(differences: Floats, targets: npt.ArrayLike, *, level: float = 0.95) -> MixedMean:
    """difference = mean + target + rest, both normal, by restricted maximum likelihood (Patterson & Thompson 1971).

    Folds of a target overlap, so that their rest is correlated; a correlation that is the same for any two of them goes
    into the target's own part and does no harm. Judged by t with targets - 1 degrees of freedom, not by z, which finds
    too much in few targets.

    Where the targets' part is estimated as 0 the model would pool all folds as if they were independent: there is no p
    then, as there is none for fewer than 3 targets, or without any scatter.

    Args:
        differences: (n,), finite.
        targets: whose each is, (n,).
        level: of confidence, in (0, 1).

    Raises:
        ValueError: when a difference is not finite.
    """
    values, groups = np.asarray(differences, dtype=np.float64), pd.factorize(np.asarray(targets))[0]
    if not np.isfinite(values).all():
        raise ValueError(f"{(~np.isfinite(values)).sum()} of {len(values)} differences are not finite; leave no gaps")
    number = len(np.unique(groups))
    if number < 3:
        return _without(values, number, f"{number} target{'s' if number != 1 else ''}: a mixed model needs at least 3")
    if number == len(values):
        return _without(values, number, "each target has one difference: use the signed-rank test")
    within = values - (np.bincount(groups, values) / np.bincount(groups))[groups]
    if np.abs(within).max() <= 1e-12 * np.abs(values).max():
        return _without(values, number, "the differences of each target are equal: use the signed-rank test")
    return _fitted(values, groups, number, level)


def _fitted(values: Floats, groups: np.ndarray, number: int, level: float) -> MixedMean:
    """The model at the variances that are likeliest."""
    share = _variance_share(values, groups)
    if share == 0:
        return _without(values, number, "targets do not differ more than their folds: use the signed-rank test")
    weights, mean, within = _at(share, values, groups)
    se = float(np.sqrt(within / weights.sum()))
    half = float(stats.t.ppf((1 + level) / 2, number - 1)) * se
    return MixedMean(
        mean=mean,
        se=se,
        t=mean / se,
        df=number - 1,
        p=float(2 * stats.t.sf(abs(mean / se), number - 1)),
        low=mean - half,
        high=mean + half,
        sd_between=float(np.sqrt(share * within)),
        sd_within=float(np.sqrt(within)),
        targets=number,
        n=len(values),
        reason="",
    )


def _variance_share(values: Floats, groups: np.ndarray) -> float:
    """The targets' variance over that of the rest where the restricted likelihood is highest; 0 at the boundary."""
    sizes = np.bincount(groups)

    def unlikely(share: float) -> float:
        weights, _, within = _at(share, values, groups)
        return float((len(values) - 1) * np.log(within) + np.log1p(sizes * share).sum() + np.log(weights.sum()))

    tried = np.append(0.0, np.logspace(-8, 8, 65))
    best = int(np.argmin([unlikely(share) for share in tried]))
    if best == 0:
        return 0.0
    around = np.log(tried[max(best - 1, 1)]), np.log(tried[min(best + 1, len(tried) - 1)])
    found = optimize.minimize_scalar(
        lambda power: unlikely(float(np.exp(power))), bounds=around, method="bounded", options={"xatol": 1e-9}
    )
    return float(np.exp(found.x))


def _at(share: float, values: Floats, groups: np.ndarray) -> tuple[Floats, float, float]:
    """Weights of the targets' means, their mean, and the rest's variance, given the share."""
    sizes = np.bincount(groups)
    means = np.bincount(groups, values) / sizes
    weights = sizes / (1 + sizes * share)
    mean = float(weights @ means / weights.sum())
    squares = float(((values - means[groups]) ** 2).sum() + weights @ (means - mean) ** 2)
    return weights, mean, squares / (len(values) - 1)


def _without(values: Floats, number: int, reason: str) -> MixedMean:
    gone = dict.fromkeys(("se", "t", "p", "low", "high", "sd_between", "sd_within"), np.nan)
    mean = float(values.mean()) if len(values) else np.nan
    return MixedMean(mean=mean, df=max(number - 1, 0), targets=number, n=len(values), reason=reason, **gone)
