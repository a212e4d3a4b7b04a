"""Rank correlations against SciPy, counts by hand, laws of normal pairs and what a reordering may not change."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.rank_correlation import rank_correlation

NAMES = ("spearman", "kendall", "weighted")


def _pairs(r: float, n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).multivariate_normal([0, 0], [[1, r], [r, 1]], n).T


def test_the_three_of_four_pairs_counted_by_hand() -> None:
    found = rank_correlation([1, 2, 3, 4], [1, 3, 2, 4])
    assert found.spearman.value == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert found.kendall.value == pytest.approx((5 - 1) / 6)
    # Weights 1 / rank, the highest is first: the one exchange, of the second and the third, weighs 1/2 + 1/3 of the
    # sum over all six, 3 x (1 + 1/2 + 1/3 + 1/4).
    assert found.weighted.value == pytest.approx(1 - 2 * (1 / 2 + 1 / 3) / (3 * (1 + 1 / 2 + 1 / 3 + 1 / 4)))


@pytest.mark.parametrize("seed", range(5))
def test_the_three_are_scipys_where_some_are_tied(seed: int) -> None:
    x, y = np.random.default_rng(seed).integers(0, 9, (2, 30))
    found = rank_correlation(x, y)
    assert found.spearman.value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found.kendall.value == pytest.approx(stats.kendalltau(x, y).statistic)
    assert found.weighted.value == pytest.approx(stats.weightedtau(x, y).statistic)


def test_an_exchange_among_the_best_weighs_more_than_one_among_the_worst() -> None:
    worst, best = (rank_correlation(range(6), order) for order in ([1, 0, 2, 3, 4, 5], [0, 1, 2, 3, 5, 4]))
    assert best.weighted.value < worst.weighted.value
    assert best.kendall.value == worst.kendall.value


def test_only_the_order_counts() -> None:
    x, y = _pairs(0.5, 20, 0)
    assert rank_correlation(np.exp(x), y**3) == rank_correlation(x, y)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_order_is_one_and_the_opposite_order_minus_one(name: str) -> None:
    found = getattr(rank_correlation(range(8), range(8)), name)
    assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1))
    assert getattr(rank_correlation(range(8), range(8, 0, -1)), name).value == pytest.approx(-1)


def test_ties_take_their_mean_rank_and_tied_pairs_do_not_count() -> None:
    found = rank_correlation([1, 1, 2, 3, 4], [1, 2, 2, 3, 5])
    assert found.spearman.value == pytest.approx(np.corrcoef([1.5, 1.5, 3, 4, 5], [1, 2.5, 2.5, 4, 5])[0, 1])
    assert found.kendall.value == pytest.approx(8 / 9)  # 8 alike, none opposite; 1 tied on each side of 10


@pytest.mark.parametrize(("name", "truth"), [("spearman", 6 / math.pi * math.asin(0.25)), ("kendall", 1 / 3)])
def test_nineteen_of_twenty_intervals_hold_what_normal_pairs_have(name: str, truth: float) -> None:
    # Of normal pairs with correlation 1/2: Spearman's is 6 / pi arcsin(r / 2), Kendall's 2 / pi arcsin(r).
    found = [getattr(rank_correlation(*_pairs(0.5, 15, seed), level=0.95), name) for seed in range(25)]
    held = np.mean([each.low <= truth <= each.high for each in found])
    assert 0.88 <= held <= 1.0
    assert all(each.low < each.value < each.high for each in found)
    assert found[0].high - found[0].low < 1.2


def test_the_drawn_interval_is_scipys_percentile_bootstrap() -> None:
    x, y = _pairs(0.6, 40, 3)
    told = stats.bootstrap(
        (x, y), lambda x, y: stats.weightedtau(x, y).statistic, paired=True, vectorized=False, n_resamples=1000,
        method="percentile", rng=np.random.default_rng(9),
    ).confidence_interval  # fmt: skip
    found = rank_correlation(x, y).weighted
    assert (found.low, found.high) == (pytest.approx(told.low, abs=0.04), pytest.approx(told.high, abs=0.04))


def test_a_higher_level_is_wider_and_a_seed_repeats_its_draws() -> None:
    x, y = _pairs(0.3, 12, 1)
    narrow, wide = (rank_correlation(x, y, level=level) for level in (0.8, 0.99))
    for name in NAMES:
        assert getattr(wide, name).low < getattr(narrow, name).low
        assert getattr(wide, name).high > getattr(narrow, name).high
    assert rank_correlation(x, y, seed=4) == rank_correlation(x, y, seed=4)


def test_four_pairs_have_values_without_intervals() -> None:
    found = rank_correlation([1, 2, 3, 4], [2, 1, 3, 4])
    for name in NAMES:
        each = getattr(found, name)
        assert not math.isnan(each.value)
        assert math.isnan(each.low)
        assert math.isnan(each.high)


@pytest.mark.parametrize("x", [[3.0], [2.0, 2.0, 2.0]])
def test_one_pair_or_a_constant_side_has_no_correlation(x: list[float]) -> None:
    found = rank_correlation(x, range(len(x)))
    assert found.n == len(x)
    assert all(math.isnan(getattr(found, name).value) for name in NAMES)


@pytest.mark.parametrize(
    ("x", "y", "level", "message"),
    [
        ([1, 2], [1, 2, 3], 0.95, r"shapes \(2,\) and \(3,\)"),
        ([1, math.nan, 3], [1, 2, 3], 0.95, "needs finite numbers"),
        ([1, 2, 3], [1, 2, 3], 1.0, "level 1.0"),
    ],
)
def test_what_makes_no_pairs_is_refused(x: list[float], y: list[float], level: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rank_correlation(x, y, level=level)
