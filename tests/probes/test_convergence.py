"""Speed of learning against closed forms of straight, exponential and constant curves."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from sweeper.outcome import Epoch
from sweeper.probes.convergence import area_under_curve, progress, steps_to

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


def _epochs(*values: float, head: int = 0) -> list[Epoch]:
    """Of which the first `head` trained the head alone."""
    return [
        Epoch(
            number=number,
            train_loss=1.0,
            scores={"auroc": value, "loss": 1 - value},
            lr=0.1,
            seconds=1.0,
            images_per_second=1.0,
            phase="head" if number <= head else "full",
        )
        for number, value in enumerate(values, start=1)
    ]


LEARNT = dict(threshold=0.7, falling=False, steps_per_epoch=10, validations=1)


def test_progress_counts_the_optimizers_steps_and_passes_over_the_training_part() -> None:
    found = progress(_epochs(0.5, 0.6, 0.8), "auroc", **LEARNT)
    assert found == {"steps_to": 30, "epochs_to": 3, "curve_area": pytest.approx(0.625), "curve_epochs": 3}


def test_several_validations_an_epoch_are_parts_of_it() -> None:
    found = progress(_epochs(0.5, 0.75, 0.8), "auroc", **LEARNT | {"validations": 2, "steps_per_epoch": 5})
    assert (found["steps_to"], found["epochs_to"], found["curve_epochs"]) == (5, 1, 1.4)


def test_a_head_that_stopped_within_an_epoch_is_counted_as_far_as_it_went() -> None:
    found = progress(_epochs(0.5, 0.55, 0.8, head=1), "auroc", **LEARNT | {"validations": 2})
    assert (found["steps_to"], found["curve_epochs"]) == (15, 1.5)


def test_a_loss_falls_to_its_threshold() -> None:
    found = progress(_epochs(0.5, 0.6, 0.8), "loss", **LEARNT | {"threshold": 0.4, "falling": True})
    assert found["epochs_to"] == 2


def test_a_curve_that_ends_before_its_area_does_has_none() -> None:
    assert math.isnan(progress(_epochs(0.5, 0.6), "auroc", **LEARNT, until=3)["curve_area"])
    assert progress(_epochs(0.5, 0.6, 0.9), "auroc", **LEARNT, until=2)["curve_area"] == pytest.approx(0.55)
    assert math.isnan(progress(_epochs(0.5), "auroc", **LEARNT)["curve_area"])


def test_a_score_that_was_not_recorded_is_refused_with_those_that_were() -> None:
    with pytest.raises(ValueError, match="the score 'kappa' was not recorded; there are auroc, loss"):
        progress(_epochs(0.5), "kappa", **LEARNT)
