"""The learning rate of every step, as a plain function of the step's number and of how often a plateau lowered it.

No optimizer is touched here: the loop asks for each step's rate and sets it, so a run that starts again half-way has
the same rates.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from sweeper.cell import Recipe

SCHEDULES = ("constant", "cosine", "onecycle", "multistep", "plateau")
ONECYCLE_RISE = 0.3
"""Share of the steps after the warm-up before `onecycle` falls: torch's own, and Matsoukas et al. 2022's."""
_SCALE_BATCH = 256
"""The batch for which a rate that is scaled with the batch is meant (Matsoukas et al. 2022)."""


def rate_at(
    step: int,
    *,
    steps: int,
    peak: float,
    schedule: str,
    warmup_steps: int,
    end: float = 0.0,
    drops: Sequence[int] = (),
    factor: float = 0.1,
    reductions: int = 0,
) -> float:
    """The learning rate with which step number `step` is taken.

    The warm-up rises linearly, peak x (step + 1) / (warmup_steps + 1), so that the first step already learns and step
    number `warmup_steps` is the first at the peak. From there

    - `constant` stays;
    - `cosine` (Loshchilov & Hutter 2017, one cycle) falls to `end` at step number `steps`, which is never taken: the
      last step still learns;
    - `onecycle` rises for 30 % of the steps as a warm-up does, or stays at the peak for them where there was a warm-up
      (Matsoukas et al. 2022), and falls linearly to `end` at step number `steps`;
    - `multistep` is multiplied by `factor` from each step of `drops` on;
    - `plateau` is multiplied by `factor` as often as `reductions` says.

    Args:
        step: 0 is the first step, `steps` the end of training.
        steps: of the whole training, warm-up included.
        peak: highest rate, > 0.
        schedule: a name in `SCHEDULES`.
        warmup_steps: 0 for no warm-up; fewer than `steps`.
        end: at most `peak`.

    Raises:
        ValueError: an unknown schedule, or a value outside these ranges.
    """
    _check(step, steps=steps, peak=peak, schedule=schedule, warmup_steps=warmup_steps, end=end)
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    gone, left = step - warmup_steps, steps - warmup_steps
    match schedule:
        case "cosine":
            return end + (peak - end) * (0.5 * (1.0 + math.cos(math.pi * (gone / left))))
        case "onecycle":
            risen = round(ONECYCLE_RISE * left)
            if gone < risen:
                return peak if warmup_steps else peak * (gone + 1) / (risen + 1)
            return peak + (end - peak) * (gone - risen) / (left - risen)
        case "multistep":
            return peak * factor ** sum(step >= drop for drop in drops)
        case "plateau":
            return peak * factor**reductions
    return peak


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The rates of one training."""

    at: Callable[..., float]
    """Step and, by name, `reductions` -> rate."""
    rising: int
    """Steps before the first one at the peak."""
    floor: float

    def ended(self, step: int, reductions: int) -> bool:
        """Whether the schedule has brought the rate of this step below the floor."""
        return step >= self.rising and self.at(step, reductions=reductions) < self.floor


def rates_of(recipe: Recipe, lr: float, steps: int) -> Rates:
    """The rates that a recipe comes to.

    Args:
        lr: the recipe's, before it is scaled with the batch.
        steps: of an epoch.
    """
    every = steps * recipe.epochs
    warmup = recipe.warmup_steps or round(recipe.warmup * steps)
    at = partial(
        rate_at,
        steps=every,
        peak=lr * recipe.batch_size / _SCALE_BATCH if recipe.scale_lr else lr,
        schedule=recipe.schedule,
        warmup_steps=warmup,
        end=recipe.lr_end if recipe.schedule in ("cosine", "onecycle") else 0.0,
        drops=[steps * epoch for epoch in recipe.milestones],
        factor=recipe.factor,
    )
    rise = round(ONECYCLE_RISE * every) if recipe.schedule == "onecycle" and not warmup else 0
    return Rates(at=at, rising=warmup + rise, floor=recipe.lr_floor)


def stretch(number: int, *, steps: int, validations: int) -> range:
    """The steps of the training before validation number `number` and after the one before it.

    Args:
        number: from 1.
        steps: of an epoch; its validations are spaced evenly among them, the last one at its end.

    Raises:
        ValueError: when an epoch has fewer steps than validations.
    """
    if validations > steps:
        raise ValueError(f"validations={validations} do not fit into an epoch of {steps} steps; ask for fewer")
    epoch, place = divmod(number - 1, validations)
    return range(epoch * steps + place * steps // validations, epoch * steps + (place + 1) * steps // validations)


@dataclass(kw_only=True)
class Plateau:
    """What the schedule `plateau` has seen: torch's `ReduceLROnPlateau` with threshold 0."""

    best: float = -math.inf
    stood: int = 0
    """Validations since the best one, or since the last reduction."""
    reductions: int = 0

    def see(self, value: float, patience: int) -> None:
        """Takes in one validation.

        Args:
            value: higher is better.
            patience: validations without a better value that it stands; the next one lowers the rate.
        """
        better = value > self.best
        self.best, self.stood = max(value, self.best), 0 if better else self.stood + 1
        if self.stood > patience:
            self.stood, self.reductions = 0, self.reductions + 1


def _check(step: int, *, steps: int, peak: float, schedule: str, warmup_steps: int, end: float) -> None:
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
    if not 0 <= end <= peak:
        raise ValueError(f"a schedule from rate {peak:g} cannot end at {end:g}; lower lr_end or raise lr")
