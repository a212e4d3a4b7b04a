"""The learning rate of every step, as a plain function of the step's number.

No optimizer is touched and nothing is remembered here: the loop asks for each step's rate and sets it, so a run that
starts again half-way has the same rates.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

SCHEDULES: Mapping[str, Callable[[float], float]] = MappingProxyType(
    {"constant": lambda _: 1.0, "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done))}
)
"""Name -> factor on the peak rate, from the share of the steps after the warm-up that are done, in [0, 1]."""


def rate_at(step: int, *, steps: int, peak: float, schedule: str, warmup_steps: int) -> float:
    """The learning rate with which step number `step` is taken.

    The warm-up rises linearly, peak x (step + 1) / (warmup_steps + 1), so that the first step already learns and step
    number `warmup_steps` is the first at the peak. From there `constant` stays, and `cosine` (Loshchilov & Hutter 2017,
    one cycle) falls to zero at step number `steps`, which is never taken: the last step still learns.

    Args:
        step: 0 is the first step, `steps` the end of training.
        steps: of the whole training, warm-up included.
        peak: highest rate, > 0.
        schedule: a name in `SCHEDULES`.
        warmup_steps: 0 for no warm-up; fewer than `steps`.

    Raises:
        ValueError: an unknown schedule, or a value outside these ranges.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"no learning-rate schedule {schedule!r}; there are {', '.join(SCHEDULES)}")
    if not 0 <= step <= steps:
        raise ValueError(f"step {step} lies outside the training's steps 0..{steps}")
    if not 0 <= warmup_steps < steps:
        raise ValueError(
            f"a warm-up of {warmup_steps} steps does not fit into {steps} steps; shorten it or train longer"
        )
    if not (math.isfinite(peak) and peak > 0):
        raise ValueError(f"peak learning rate {peak} is not a positive number")
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    return peak * SCHEDULES[schedule]((step - warmup_steps) / (steps - warmup_steps))
