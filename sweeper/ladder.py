"""The rates that a grid or a range test goes through, and the one that a range test's loss curve speaks for.

Nothing is trained or drawn here. Of all ways to a rate a range test costs the least and is the least safe: over 24
small problems it lost 7 to 25 points of accuracy against the best rate; four whole trials, begun at the rates of other
seeds and led by TPE, lost 1.6.
"""

import math
from collections.abc import Sequence

import numpy as np

from sweeper.cell import LrSearch

EXPLODED = 4.0
"""A range test ends with the first loss above so many times the smallest before it (Smith 2017 ends it by eye)."""
STEEPEST_BY_CHANCE = 4.0
"""Sd of noise that the steepest slope must exceed: of curves of 8 to 40 stretches that are nothing but noise, 2 to 3 %
do (simulated, 4000 curves each)."""
SHORTEST = 5
"""Stretches of which one has two neighbours on either side, as its smoothed slope needs."""
_MEDIAN_TO_SD = 1.4826  # of the absolute values of normal draws


def rungs(search: LrSearch) -> tuple[float, ...]:
    """The log-spaced rates of a grid or a range test, both ends among them; the middle where there is one trial."""
    if search.trials == 1:
        return (rate_between(search.low, search.high, 0.5),)
    return tuple(rate_between(search.low, search.high, number / (search.trials - 1)) for number in range(search.trials))


def rate_between(low: float, high: float, share: float) -> float:
    """The rate that lies this share of the way from `low` to `high`, on the log scale."""
    return min(max(low * (high / low) ** share, low), high)  # rounding may step over an end


def steepest_fall(losses: Sequence[float]) -> int | None:
    """The place in a range test's curve at which the smoothed loss falls steepest (Smith 2017), from 0.

    The curve ends before the first loss that is not finite or above `EXPLODED` times the smallest before it. Each loss
    gives way to the mean of itself and its neighbours (at an end there is one). The slope is half the difference
    between the smoothed losses after and before, at an end the whole difference to the one neighbour; places are equal
    steps of the log rate. Only falls to the lowest smoothed loss so far count, for what falls from a hump has been
    lower before. Of equal slopes the first counts, which has the lowest rate.

    None where there is no rate to take: fewer than `SHORTEST` losses are left, or no slope is steeper than
    `STEEPEST_BY_CHANCE` sd of what noise makes of it. The noise of a loss is taken from the median of the second
    differences, which a smooth curve hardly has; it makes a third of it of a slope.
    """
    curve = np.asarray(losses[: exploded_at(losses)], dtype=float)
    if len(curve) < SHORTEST:
        return None
    smooth = np.array([curve[max(place - 1, 0) : place + 2].mean() for place in range(len(curve))])
    after = np.minimum(np.arange(len(curve)) + 1, len(curve) - 1)
    is_new_low = smooth[after] < np.minimum.accumulate(smooth)[after - 1]
    slopes = np.where(is_new_low, np.gradient(smooth), 0.0)
    noise = _MEDIAN_TO_SD * np.median(np.abs(np.diff(curve, 2))) / np.sqrt(6)
    return int(slopes.argmin()) if slopes.min() < -STEEPEST_BY_CHANCE * noise / 3 else None


def exploded_at(losses: Sequence[float]) -> int:
    """The place of the first loss that ends a curve, or the curve's length."""
    smallest = math.inf
    for place, loss in enumerate(losses):
        if not math.isfinite(loss) or loss > EXPLODED * smallest:
            return place
        smallest = min(smallest, loss)
    return len(losses)
