"""Rates step by step against torch's own schedulers, and what must hold at the ends."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)

from sweeper.cell import Recipe
from sweeper.finetune.schedules import SCHEDULES, Plateau, rate_at, rates_of, stretch

PEAK = 3e-3


def _rates(schedule: str, *, steps: int, warmup_steps: int, **more: Any) -> list[float]:
    return [
        rate_at(step, steps=steps, peak=PEAK, schedule=schedule, warmup_steps=warmup_steps, **more)
        for step in range(steps)
    ]


def _rise(optimizer: torch.optim.Optimizer, warmup: int) -> LRScheduler:
    return LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)


def _torch_rates(make: Callable[[torch.optim.Optimizer], LRScheduler], steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("steps", [1, 2, 17, 400])
def test_cosine_without_warmup_is_torchs_cosine_annealing(steps: int) -> None:
    expected = _torch_rates(lambda optimizer: CosineAnnealingLR(optimizer, T_max=steps), steps)
    assert _rates("cosine", steps=steps, warmup_steps=0) == pytest.approx(expected, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("warmup", [1, 5, 39])
def test_cosine_with_warmup_is_torchs_linear_then_cosine(warmup: int) -> None:
    def make(optimizer: torch.optim.Optimizer) -> LRScheduler:
        rise = _rise(optimizer, warmup)
        return SequentialLR(optimizer, [rise, CosineAnnealingLR(optimizer, T_max=40 - warmup)], milestones=[warmup])

    expected = _torch_rates(make, 40)
    assert _rates("cosine", steps=40, warmup_steps=warmup) == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_constant_with_warmup_is_torchs_linear_rise_to_one() -> None:
    expected = _torch_rates(lambda optimizer: LinearLR(optimizer, start_factor=1 / 8, total_iters=7), 30)
    assert _rates("constant", steps=30, warmup_steps=7) == pytest.approx(expected, rel=1e-9)


def test_constant_without_warmup_is_torchs_constant() -> None:
    expected = _torch_rates(lambda optimizer: ConstantLR(optimizer, factor=1.0), 9)
    assert _rates("constant", steps=9, warmup_steps=0) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 1, 6])
def test_every_step_of_every_schedule_learns(schedule: str, warmup: int) -> None:
    assert all(0 < rate <= PEAK for rate in _rates(schedule, steps=20, warmup_steps=warmup))


RISES = [(schedule, warmup) for schedule in SCHEDULES for warmup in (0, 1, 6) if warmup or schedule != "onecycle"]


@pytest.mark.parametrize(("schedule", "warmup"), RISES)
def test_the_step_after_the_warmup_is_the_first_at_the_peak(schedule: str, warmup: int) -> None:
    assert _rates(schedule, steps=20, warmup_steps=warmup).index(PEAK) == warmup


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_warmup_rises_by_equal_steps_from_zero(schedule: str) -> None:
    rates = [0.0, *_rates(schedule, steps=20, warmup_steps=6)[:7]]
    rises = [after - before for before, after in pairwise(rates)]
    assert rises == pytest.approx([PEAK / 7] * 7)


def test_cosine_is_zero_at_the_end_of_training() -> None:
    assert rate_at(20, steps=20, peak=PEAK, schedule="cosine", warmup_steps=4) == pytest.approx(0, abs=1e-18)


def test_cosine_is_at_half_its_peak_half_way_after_the_warmup() -> None:
    assert rate_at(12, steps=20, peak=PEAK, schedule="cosine", warmup_steps=4) == pytest.approx(PEAK / 2)


def test_cosine_never_rises_after_the_warmup() -> None:
    rates = _rates("cosine", steps=50, warmup_steps=5)[5:]
    assert rates == sorted(rates, reverse=True)


def test_rates_are_proportional_to_the_peak() -> None:
    one, ten = (rate_at(3, steps=9, peak=peak, schedule="cosine", warmup_steps=2) for peak in (1.0, 10.0))
    assert ten == pytest.approx(10 * one)


def test_an_unknown_schedule_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'cosin'.*constant, cosine"):
        rate_at(0, steps=10, peak=PEAK, schedule="cosin", warmup_steps=0)


@pytest.mark.parametrize("step", [-1, 11])
def test_a_step_outside_the_training_is_refused(step: int) -> None:
    with pytest.raises(ValueError, match=f"step {step} lies outside"):
        rate_at(step, steps=10, peak=PEAK, schedule="constant", warmup_steps=0)


@pytest.mark.parametrize("warmup", [-1, 10])
def test_a_warmup_that_does_not_fit_is_refused(warmup: int) -> None:
    with pytest.raises(ValueError, match=f"warm-up of {warmup} steps"):
        rate_at(0, steps=10, peak=PEAK, schedule="constant", warmup_steps=warmup)


@pytest.mark.parametrize("peak", [0.0, -1e-3, math.nan, math.inf])
def test_a_peak_that_is_no_positive_number_is_refused(peak: float) -> None:
    with pytest.raises(ValueError, match="not a positive number"):
        rate_at(0, steps=10, peak=peak, schedule="constant", warmup_steps=0)


@pytest.mark.parametrize("end", [1e-6, 1e-3])
@pytest.mark.parametrize("warmup", [0, 5])
def test_cosine_to_an_end_is_torchs_with_that_smallest_rate(end: float, warmup: int) -> None:
    def make(optimizer: torch.optim.Optimizer) -> LRScheduler:
        fall = CosineAnnealingLR(optimizer, T_max=40 - warmup, eta_min=end)
        return SequentialLR(optimizer, [_rise(optimizer, warmup), fall], milestones=[warmup]) if warmup else fall

    expected = _torch_rates(make, 40)
    assert _rates("cosine", steps=40, warmup_steps=warmup, end=end) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("steps", [2, 17, 400])
@pytest.mark.parametrize("end", [0.0, 1e-5])
def test_onecycle_without_warmup_is_torchs_linear_one(steps: int, end: float) -> None:
    """Whose last step is at the end, so that it has one step more, and whose first rate is a divisor of the peak."""
    rise = round(0.3 * steps)
    last = end or 1e-30

    def make(optimizer: torch.optim.Optimizer) -> LRScheduler:
        return OneCycleLR(
            optimizer,
            max_lr=PEAK,
            total_steps=steps + 1,
            pct_start=(rise + 1) / (steps + 1),
            anneal_strategy="linear",
            cycle_momentum=False,
            div_factor=rise + 1,
            final_div_factor=PEAK / (rise + 1) / last,
        )

    expected = _torch_rates(make, steps)
    assert _rates("onecycle", steps=steps, warmup_steps=0, end=end) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("warmup", [3, 12])
def test_onecycle_with_warmup_is_torchs_that_starts_at_its_peak(warmup: int) -> None:
    left = 40 - warmup

    def make(optimizer: torch.optim.Optimizer) -> LRScheduler:
        cycle = OneCycleLR(
            optimizer,
            max_lr=PEAK,
            total_steps=left + 1,
            pct_start=(round(0.3 * left) + 1) / (left + 1),
            anneal_strategy="linear",
            cycle_momentum=False,
            div_factor=1.0,
            final_div_factor=1e4,
        )
        return SequentialLR(optimizer, [_rise(optimizer, warmup), cycle], milestones=[warmup])

    found = _rates("onecycle", steps=40, warmup_steps=warmup, end=1e-4 * PEAK)
    assert found[warmup:] == pytest.approx(_torch_rates(make, 40)[warmup:], rel=1e-9)


@pytest.mark.parametrize("drops", [(7,), (3, 3, 20), (1, 30)])
@pytest.mark.parametrize("factor", [0.1, 0.5])
def test_multistep_is_torchs(drops: Sequence[int], factor: float) -> None:
    expected = _torch_rates(lambda optimizer: MultiStepLR(optimizer, milestones=drops, gamma=factor), 25)
    found = _rates("multistep", steps=25, warmup_steps=0, drops=drops, factor=factor)
    assert found == pytest.approx(expected, rel=1e-9)


VALUES = [0.5, 0.6, 0.6, 0.55, 0.6, 0.7, 0.1, 0.2, 0.3, 0.71, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.9, 0.1, 0.1]


@pytest.mark.parametrize("patience", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("factor", [0.1, 0.5])
def test_plateau_is_torchs_reduction_without_a_threshold(patience: int, factor: float) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    scheduler = ReduceLROnPlateau(optimizer, mode="max", factor=factor, patience=patience, threshold=0.0, eps=0.0)
    plateau, found, expected = Plateau(), [], []
    for value in VALUES:
        scheduler.step(value)
        plateau.see(value, patience)
        expected.append(optimizer.param_groups[0]["lr"])
        found.append(
            rate_at(
                1, steps=9, peak=PEAK, schedule="plateau", warmup_steps=0, factor=factor, reductions=plateau.reductions
            )
        )
    assert found == pytest.approx(expected, rel=1e-9)
    assert patience == 5 or found[-1] < found[0]


def test_a_recipe_in_epochs_is_a_schedule_in_steps() -> None:
    recipe = Recipe(epochs=5, schedule="multistep", milestones=(2, 4), factor=0.5, warmup=1.0)
    rates = rates_of(recipe, PEAK, 10)
    found = [rates.at(step, reductions=0) / PEAK for step in (9, 10, 19, 20, 39, 40, 49)]
    assert found == pytest.approx([10 / 11, 1, 1, 0.5, 0.5, 0.25, 0.25])


def test_a_warmup_in_steps_is_the_same_as_in_epochs() -> None:
    epochs, steps = Recipe(schedule="cosine", warmup=2.0), Recipe(schedule="cosine", warmup_steps=14)
    one, two = ([rates_of(each, PEAK, 7).at(step, reductions=0) for step in range(70)] for each in (epochs, steps))
    assert one == two


@pytest.mark.parametrize(("batch_size", "times"), [(64, 0.25), (256, 1.0), (512, 2.0)])
def test_a_scaled_rate_grows_with_the_batch(batch_size: int, times: float) -> None:
    recipe = Recipe(scale_lr=True, batch_size=batch_size)
    assert rates_of(recipe, PEAK, 9).at(0, reductions=0) == pytest.approx(times * PEAK)


def test_a_rate_that_rises_through_the_floor_has_not_ended() -> None:
    rates = rates_of(Recipe(epochs=4, schedule="onecycle", lr_floor=PEAK / 2), PEAK, 25)
    ended = [rates.ended(step, 0) for step in range(100)]
    assert ended.index(True) == pytest.approx(30 + 35, abs=1)
    assert all(ended[66:])


def test_an_end_above_the_peak_is_refused() -> None:
    with pytest.raises(ValueError, match=r"from rate 0.003 cannot end at 0.01"):
        rate_at(0, steps=10, peak=PEAK, schedule="cosine", warmup_steps=0, end=1e-2)


@pytest.mark.parametrize(("steps", "validations"), [(10, 1), (10, 3), (10, 10), (7, 2)])
def test_validations_cut_an_epoch_evenly(steps: int, validations: int) -> None:
    cut = [stretch(number, steps=steps, validations=validations) for number in range(1, 3 * validations + 1)]
    assert [step for each in cut for step in each] == list(range(3 * steps))
    assert {each.stop for each in cut} >= {steps, 2 * steps, 3 * steps}
    assert max(map(len, cut)) - min(map(len, cut)) <= 1


def test_more_validations_than_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="validations=4 do not fit into an epoch of 3 steps"):
        stretch(1, steps=3, validations=4)
