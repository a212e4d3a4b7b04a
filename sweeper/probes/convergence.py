"""How fast a cell learned: from the curve of one metric over steps or epochs.

Curves are neither smoothed nor continued; which metric, and against which other cell, is the caller's to say.
"""

import math
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from sweeper.finetune.schedules import stretch
from sweeper.outcome import Epoch

Curve = npt.ArrayLike


def steps_to(
    steps: Curve, values: Curve, threshold: float, *, falling: bool = False, interpolate: bool = False
) -> float:
    """The step at which a curve first reaches a threshold; infinity where it never does within its steps.

    As Raghu et al. 2019 count convergence (there: steps to a validation AUC of 0.91). Never reached is infinity and not
    NaN, so that a mean over cells shows it and a median counts it as slow, where NaN would be left out in silence and
    make slow settings look fast.

    Args:
        steps: steps, epochs or seconds, strictly increasing; at least one.
        values: the metric at each.
        threshold: reached at values >= it.
        falling: the metric is to fall, as a loss: reached at values <= it.
        interpolate: between the step that reached it and the one before, take the point where a straight line crosses
            the threshold; else that step itself. The first step has none before and counts itself.

    Raises:
        ValueError: an empty curve, lengths that differ, steps that do not increase, or anything that is not finite.
    """
    x, y = _curve(steps, values)
    if not math.isfinite(threshold):
        raise ValueError(f"threshold {threshold} is not finite; give the value of the metric that is to be reached")
    reached = np.flatnonzero(y <= threshold if falling else y >= threshold)
    if not len(reached):
        return math.inf
    place = int(reached[0])
    if not interpolate or place == 0:
        return float(x[place])
    share = (threshold - y[place - 1]) / (y[place] - y[place - 1])
    return float(x[place - 1] + share * (x[place] - x[place - 1]))


def area_under_curve(steps: Curve, values: Curve, *, until: float | None = None) -> float:
    """The mean height of a learning curve: its area by the trapezoid rule over the length of its steps.

    In the metric's own unit, so that a constant curve has its value, whatever the steps. Curves that ended at different
    steps compare only up to a common one: a patient cell has a longer plateau.

    Args:
        steps: as in `steps_to`, at least two.
        values: the metric at each.
        until: where to end, after the first step and not after the last; the curve is interpolated there. None ends at
            the last step.

    Raises:
        ValueError: as `steps_to`, for a curve of one step, and for an end outside the curve.
    """
    x, y = _curve(steps, values)
    if len(x) < 2:
        raise ValueError(f"the learning curve has one step ({x[0]:g}); its area needs at least two")
    end = float(x[-1]) if until is None else until
    if not x[0] < end <= x[-1]:
        raise ValueError(
            f"until={end:g} is outside the learning curve, which runs from {x[0]:g} to {x[-1]:g}; "
            "end where the shortest of the curves ends"
        )
    kept = x < end
    x, y = np.append(x[kept], end), np.append(y[kept], np.interp(end, x, y))
    return float(np.trapezoid(y, x) / (end - x[0]))


def progress(
    epochs: Sequence[Epoch],
    score: str,
    *,
    threshold: float,
    falling: bool,
    steps_per_epoch: int,
    validations: int,
    until: float | None = None,
) -> dict[str, float]:
    """`steps_to` and `epochs_to` a threshold, `curve_area` up to an epoch, and the epoch at which the curve ends.

    Steps are the optimizer's, of both phases where the head was trained alone first; an epoch is a pass over the
    training part. The area is NaN of a curve of one validation, and of one that does not reach to `until`.

    Args:
        epochs: all that a cell recorded, one a validation.
        score: its name in `Epoch.scores`.
        falling: as in `steps_to`.
        until: epoch, after the first validation; None is the last validation.

    Raises:
        ValueError: when the score was not recorded, or as `steps_to`.
    """
    if score not in epochs[0].scores:
        known = ", ".join(sorted(epochs[0].scores))
        raise ValueError(f"the score '{score}' was not recorded; there are {known}")
    phases = [each.phase for each in epochs]
    numbers = [1 + phases[:place].count(phase) for place, phase in enumerate(phases)]
    taken = [len(stretch(number, steps=steps_per_epoch, validations=validations)) for number in numbers]
    steps = np.array(list(accumulate(taken)), dtype=np.float64)
    values, passes = [each.scores[score] for each in epochs], steps / steps_per_epoch
    reached = steps_to(steps, values, threshold, falling=falling)
    there = len(steps) > 1 and (until is None or passes[0] < until <= passes[-1])
    return {
        "steps_to": reached,
        "epochs_to": reached / steps_per_epoch,
        "curve_area": area_under_curve(passes, values, until=until) if there else math.nan,
        "curve_epochs": float(passes[-1]),
    }


def _curve(steps: Curve, values: Curve) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    x, y = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or not len(x):
        raise ValueError(f"a learning curve needs as many values as steps; there are {y.shape} and {x.shape}")
    if not np.isfinite(x).all() or (np.diff(x) <= 0).any():
        raise ValueError("the steps of the learning curve do not increase; give one cell's curve, in order")
    if not np.isfinite(y).all():
        step = x[~np.isfinite(y)][0]
        raise ValueError(
            f"the learning curve is {y[~np.isfinite(y)][0]} at step {step:g}; look for a run that diverged, or choose "
            "a metric that is defined at each step"
        )
    return x, y
