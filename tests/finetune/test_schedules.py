"""Rates step by step against torch's own schedulers, and what must hold at the ends."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from sweeper.finetune.schedules import SCHEDULES, rate_at

PEAK = 3e-3


def _rates(schedule: str, *, steps: int, warmup_steps: int) -> list[float]:
    return [
        rate_at(step, steps=steps, peak=PEAK, schedule=schedule, warmup_steps=warmup_steps) for step in range(steps)
    ]


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
        rise = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
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


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 1, 6])
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
