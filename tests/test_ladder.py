"""Range-test curves whose steepest fall is known in closed form, and curves that speak for no rate."""

import numpy as np
import pytest
from scipy.ndimage import uniform_filter1d

from sweeper.cell import LrSearch
from sweeper.ladder import exploded_at, rungs, steepest_fall


def s_curve(centre: float, stretches: int = 25) -> np.ndarray:
    """From 2.3 to 0.3, steepest at `centre`."""
    return 1.3 - np.tanh((np.arange(stretches) - centre) / 3)


@pytest.mark.parametrize("centre", range(5, 20))
def test_an_s_curve_falls_steepest_at_its_centre(centre: int) -> None:
    assert steepest_fall(s_curve(centre)) == centre


def test_noise_of_a_few_per_cent_moves_the_place_by_little() -> None:
    draws = np.random.default_rng(0)
    places = [steepest_fall(s_curve(12) * draws.normal(1, 0.02, 25)) for _ in range(200)]
    assert all(place is not None and abs(place - 12) <= 3 for place in places)


def test_the_slope_is_that_of_scipys_moving_mean() -> None:
    draws = np.random.default_rng(1)
    for _ in range(100):
        curve = s_curve(10, 20) + draws.normal(0, 0.05, 20)
        inner = np.gradient(uniform_filter1d(curve, 3))[2:-2]  # scipy and this treat the ends differently
        assert steepest_fall(curve) == 2 + inner.argmin()


@pytest.mark.parametrize("stretches", [8, 12, 25])
def test_of_curves_that_are_noise_hardly_any_speaks_for_a_rate(stretches: int) -> None:
    draws = np.random.default_rng(2)
    found = [steepest_fall(draws.normal(2.3, 0.2, stretches)) for _ in range(1000)]
    assert sum(place is not None for place in found) < 50


def test_what_falls_from_a_hump_to_where_it_was_does_not_count() -> None:
    hump = 1.5 * np.exp(-((np.arange(25) - 18) ** 2) / 4)
    assert steepest_fall(s_curve(8) + 0.2 + hump) == 8


def test_what_comes_after_an_explosion_does_not_count() -> None:
    curve = s_curve(12)[:20]
    assert steepest_fall([*curve, 4.1 * curve.min(), 100.0, 0.0, 0.0]) == 12


def test_what_comes_after_a_loss_that_is_not_finite_does_not_count() -> None:
    assert steepest_fall([*s_curve(12)[:20], np.nan, 1e9, 0.0]) == 12


def test_a_curve_ends_with_the_first_loss_above_four_times_the_smallest_before() -> None:
    assert exploded_at([0.5, 0.1, 0.4, 0.4001, 0.1]) == 3
    assert exploded_at([0.5, 0.1, 0.4, 0.4, 0.1]) == 5


def test_of_equal_slopes_the_lowest_rate_is_taken() -> None:
    assert steepest_fall([16.0, 16.0, 14.0, 12.0, 10.0, 8.0, 6.0, 4.0, 4.0]) == 3


@pytest.mark.parametrize(
    "losses",
    [
        [],
        [4.0, 3.0, 2.0, 1.0],
        [4.0, 3.0, 2.0, 1.0, 9.0, 0.1],
        np.linspace(1, 3, 12),
        np.ones(12),
        [np.nan] * 5,
    ],
    ids=["none", "four", "four before an explosion", "rising", "flat", "nan"],
)
def test_a_curve_that_does_not_fall_speaks_for_no_rate(losses: list[float]) -> None:
    assert steepest_fall(losses) is None


def test_the_rates_are_numpys_logspace() -> None:
    assert rungs(LrSearch(low=1e-5, high=1e-2, trials=25)) == pytest.approx(np.logspace(-5, -2, 25), rel=1e-12)


def test_the_ends_are_exact() -> None:
    for low, high in np.random.default_rng(2).uniform(1e-6, 1, (100, 2)):
        rates = rungs(LrSearch(low=min(low, high), high=max(low, high), trials=7))
        assert (rates[0], rates[-1]) == (min(low, high), pytest.approx(max(low, high), rel=1e-12))
        assert rates[-1] <= max(low, high)


def test_a_single_rate_is_the_geometric_mean_of_the_ends() -> None:
    assert rungs(LrSearch(low=1e-4, high=1e-2, trials=1)) == pytest.approx([1e-3])
