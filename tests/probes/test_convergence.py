"""Speed of learning against closed forms of straight, exponential and constant curves."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from sweeper.probes.convergence import area_under_curve, steps_to

STEPS = [10, 20, 40, 50]
AUC = [0.6, 0.8, 0.9, 0.85]


def test_the_first_step_at_or_above_the_threshold_counts() -> None:
    assert steps_to(STEPS, AUC, 0.85) == 40


def test_a_value_equal_to_the_threshold_reaches_it() -> None:
    assert steps_to(STEPS, AUC, 0.8) == 20


def test_a_later_fall_below_the_threshold_does_not_matter() -> None:
    assert steps_to(STEPS, AUC, 0.9) == 40


def test_a_line_between_two_steps_crosses_the_threshold_in_proportion() -> None:
    assert steps_to(STEPS, AUC, 0.85, interpolate=True) == pytest.approx(30.0)


def test_on_a_straight_line_the_interpolated_step_is_the_inverse_of_the_line() -> None:
    steps = np.array([0.0, 3.0, 7.0, 20.0])
    assert steps_to(steps, 0.5 + 0.02 * steps, 0.77, interpolate=True) == pytest.approx((0.77 - 0.5) / 0.02)


def test_a_threshold_met_at_the_first_step_is_reached_there() -> None:
    assert steps_to(STEPS, AUC, 0.1, interpolate=True) == steps_to(STEPS, AUC, 0.1) == 10


def test_a_threshold_that_is_never_met_is_infinitely_far() -> None:
    assert steps_to(STEPS, AUC, 0.91) == steps_to(STEPS, AUC, 0.91, interpolate=True) == math.inf


def test_a_loss_reaches_a_threshold_from_above() -> None:
    rising, falling = (steps_to(STEPS, np.array(AUC) * sign, 0.85 * sign, falling=sign < 0) for sign in (1, -1))
    assert rising == falling == 40


def test_an_exponential_loss_reaches_its_half_after_its_half_life() -> None:
    steps = np.linspace(0, 10, 20_001)
    found = steps_to(steps, np.exp(-steps / 2), 0.5, falling=True, interpolate=True)
    assert found == pytest.approx(2 * math.log(2), abs=1e-6)


def test_a_constant_curve_has_the_area_of_its_value() -> None:
    assert area_under_curve([1, 2, 10], [0.7] * 3) == pytest.approx(0.7)


def test_the_area_of_an_exponential_is_its_integral_over_the_length() -> None:
    steps = np.linspace(0, 5, 10_001)
    assert area_under_curve(steps, np.exp(-steps)) == pytest.approx((1 - math.exp(-5)) / 5, rel=1e-6)


def test_the_area_until_a_step_is_that_of_the_curve_cut_there() -> None:
    steps = np.array([0.0, 4.0, 10.0])
    assert area_under_curve(steps, 2 * steps, until=6.0) == pytest.approx(6.0)
    assert area_under_curve(STEPS, AUC, until=40) == pytest.approx(area_under_curve(STEPS[:3], AUC[:3]))


def test_the_area_does_not_depend_on_the_unit_of_the_steps() -> None:
    assert area_under_curve(np.array(STEPS) * 300, AUC) == pytest.approx(area_under_curve(STEPS, AUC))


@pytest.mark.parametrize("end", [10, 51, math.nan])
def test_an_end_outside_the_curve_is_refused(end: float) -> None:
    with pytest.raises(ValueError, match="runs from 10 to 50"):
        area_under_curve(STEPS, AUC, until=end)


def test_a_curve_of_one_step_has_no_area() -> None:
    with pytest.raises(ValueError, match=r"one step \(3\)"):
        area_under_curve([3], [0.5])


def _to(steps: list[float], values: list[float]) -> float:
    return steps_to(steps, values, 0.5)


@pytest.mark.parametrize("measure", [_to, area_under_curve])
@pytest.mark.parametrize(
    ("steps", "values", "message"),
    [
        ([], [], "as many values as steps"),
        ([1, 2], [0.1], "as many values as steps"),
        ([1, 1], [0.1, 0.2], "do not increase"),
        ([1, math.nan], [0.1, 0.2], "do not increase"),
        ([1, 2, 3], [0.1, math.nan, 0.9], "is nan at step 2"),
    ],
)
def test_what_is_no_curve_is_refused(
    measure: Callable[..., float], steps: list[float], values: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        measure(steps, values)


def test_a_threshold_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="threshold nan"):
        steps_to(STEPS, AUC, math.nan)
