"""Tests over folds, targets and families against scipy, statsmodels, baycomp, and closed forms."""

import itertools
from typing import Any

import baycomp
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from analysis.statistics import (
    corrected_t_test,
    detectable_in_se,
    holm,
    mixed_mean,
    signed_rank_test,
    summarise,
)

DIFFERENCES = np.random.default_rng(5).normal(0.02, 0.03, size=10)


def test_without_overlap_it_is_the_paired_t_test_of_scipy() -> None:
    found = corrected_t_test(DIFFERENCES, ratio=0)
    wanted: Any = stats.ttest_1samp(DIFFERENCES, 0)
    assert (found.t, found.p) == pytest.approx((wanted.statistic, wanted.pvalue), rel=1e-12)
    assert (found.low, found.high) == pytest.approx(tuple(wanted.confidence_interval()), rel=1e-12)
    assert found.d_z == pytest.approx(DIFFERENCES.mean() / DIFFERENCES.std(ddof=1), rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_with_overlap_it_is_the_correlated_t_test_of_baycomp(seed: int) -> None:
    scores, other = np.random.default_rng(seed).normal([[0.8], [0.78]], 0.03, size=(2, 10))
    (left, right) = baycomp.two_on_single(scores, other, rope=0, runs=1)  # of the difference other - scores: 10 folds
    found = corrected_t_test(scores - other, ratio=(1 / 10) / (9 / 10))
    assert found.p == pytest.approx(2 * min(left, right), rel=1e-9)


def test_the_standard_error_is_nadeau_and_bengios() -> None:
    found = corrected_t_test(np.array([0.01, 0.02, 0.03, 0.04, 0.05]), ratio=1 / 3)
    assert found.se == pytest.approx(np.sqrt((1 / 5 + 1 / 3) * 0.00025), rel=1e-12)
    assert (found.n, found.df) == (5, 4)


@pytest.mark.parametrize("n", [3, 10, 50])
def test_the_smallest_detectable_effect_is_that_of_statsmodels(n: int) -> None:
    d_z = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8, alternative="two-sided")
    assert detectable_in_se(n - 1) / np.sqrt(n) == pytest.approx(d_z, rel=1e-4)


def test_an_effect_of_that_size_is_found_in_four_of_five_data_sets() -> None:
    draws = np.random.default_rng(0).normal(size=(4000, 6))
    size = detectable_in_se(5) / np.sqrt(6)
    tested: Any = stats.ttest_1samp(draws + size, 0, axis=1)
    found = tested.pvalue < 0.05
    assert abs(found.mean() - 0.8) < 3 * np.sqrt(0.8 * 0.2 / 4000)


@pytest.mark.parametrize(
    ("differences", "reason"),
    [
        ([], "0 differences: a t-test needs at least 2"),
        ([0.1], "1 difference: a t-test needs at least 2"),
        ([0.1, 0.1, 0.1], "all 3 differences are equal: their sd is 0"),
        ([0.0, 0.0], "all 2 differences are equal: their sd is 0"),
    ],
)
def test_too_few_or_equal_differences_have_no_p(differences: list[float], reason: str) -> None:
    found = corrected_t_test(np.array(differences), ratio=1 / 3)
    assert np.isnan([found.p, found.t, found.se, found.low, found.high, found.d_z, found.detectable]).all()
    assert found.reason == reason


def test_gaps_and_impossible_ratios_are_refused() -> None:
    for test in (lambda d: corrected_t_test(d, ratio=0.25), signed_rank_test, lambda d: mixed_mean(d, [1, 2])):
        with pytest.raises(ValueError, match="1 of 2 differences are not finite"):
            test(np.array([0.1, np.nan]))
    with pytest.raises(ValueError, match="ratio -1 of test to training images"):
        corrected_t_test(DIFFERENCES, ratio=-1)
    with pytest.raises(ValueError, match=r"power 0.01 is not between the error 0.05 and 1"):
        corrected_t_test(DIFFERENCES, ratio=0, power=0.01)


@pytest.mark.parametrize("n", [3, 7, 12, 40])
def test_signed_ranks_are_exact_as_scipys(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.3, 1.0, size=n)
    found = signed_rank_test(differences)
    wanted: Any = stats.wilcoxon(differences, method="exact")
    assert found.p == pytest.approx(wanted.pvalue, rel=1e-9)
    assert min(found.positive, found.negative) == wanted.statistic


@pytest.mark.parametrize("seed", range(5))
def test_ties_are_counted_over_all_signs(seed: int) -> None:
    differences = np.random.default_rng(seed).integers(-3, 5, size=9).astype(float)
    told = differences[differences != 0]
    ranks = stats.rankdata(np.abs(told))
    sums = np.array([ranks @ signs for signs in itertools.product((0, 1), repeat=len(ranks))])
    far = np.abs(sums - ranks.sum() / 2) >= np.abs(ranks[told > 0].sum() - ranks.sum() / 2) - 1e-9
    found = signed_rank_test(differences)
    assert found.p == pytest.approx(far.mean(), rel=1e-12)
    assert (found.n, found.zeros) == (len(told), 9 - len(told))


def test_many_targets_are_judged_as_scipy_does_with_continuity() -> None:
    differences = np.random.default_rng(1).integers(-9, 11, size=400).astype(float)
    wanted: Any = stats.wilcoxon(differences, method="asymptotic", correction=True)
    found = signed_rank_test(differences)
    assert not found.exact
    assert found.p == pytest.approx(wanted.pvalue, rel=1e-9)


def test_counted_and_normal_p_meet() -> None:
    differences = np.random.default_rng(2).normal(0.1, 1.0, size=200)
    assert signed_rank_test(differences).exact
    wanted: Any = stats.wilcoxon(differences, method="asymptotic", correction=True)
    assert signed_rank_test(differences).p == pytest.approx(wanted.pvalue, rel=0.02)


def test_few_targets_can_come_to_no_small_p() -> None:
    found = signed_rank_test(np.array([0.1, 0.2, 0.3, 0.4]))
    assert found.p == found.smallest_p == 0.125
    assert found.rank_biserial == 1


def test_rank_biserial_is_the_share_of_favourable_ranks_less_the_other() -> None:
    found = signed_rank_test(np.array([-1.0, 2.0, 3.0, 4.0]))
    assert found.rank_biserial == pytest.approx((9 - 1) / 10, rel=1e-12)


def test_no_difference_has_no_p() -> None:
    for differences, reason in (([0.0, 0.0], "all differences are 0"), ([], "there is no difference")):
        found = signed_rank_test(np.array(differences))
        assert np.isnan(found.p)
        assert found.reason == reason


def folds_of(targets: int, folds: int, seed: int, between: float) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    own = generator.normal(0.02, between, size=(targets, 1))
    return (own + generator.normal(0, 0.01, size=(targets, folds))).ravel(), np.repeat(np.arange(targets), folds)


@pytest.mark.parametrize("seed", range(3))
def test_a_balanced_mixed_model_is_the_t_test_of_target_means(seed: int) -> None:
    differences, targets = folds_of(8, 5, seed, between=0.03)
    found, means = mixed_mean(differences, targets), differences.reshape(8, 5).mean(axis=1)
    wanted: Any = stats.ttest_1samp(means, 0)
    assert found.mean == pytest.approx(means.mean(), rel=1e-9)
    assert (found.t, found.p) == pytest.approx((wanted.statistic, wanted.pvalue), rel=1e-6)
    assert found.sd_within == pytest.approx(np.sqrt(differences.reshape(8, 5).var(axis=1, ddof=1).mean()), rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_an_unbalanced_mixed_model_is_that_of_statsmodels(seed: int) -> None:
    differences, targets = folds_of(12, 5, seed, between=0.03)
    kept = np.random.default_rng(seed).random(60) < 0.7
    own = targets[kept]
    wanted: Any = MixedLM(100 * differences[kept], np.ones((kept.sum(), 1)), groups=own).fit(reml=True)
    found = mixed_mean(differences[kept], own)
    spreads = np.sqrt([wanted.cov_re[0, 0], wanted.scale]) / 100
    assert found.mean == pytest.approx(wanted.fe_params[0] / 100, rel=1e-4)
    assert (found.sd_between, found.sd_within) == pytest.approx(spreads, rel=1e-3)
    covariance = found.sd_between**2 * (own[:, None] == own) + found.sd_within**2 * np.eye(len(own))
    assert found.se == pytest.approx(1 / np.sqrt(np.linalg.inv(covariance).sum()), rel=1e-9)


def test_an_unbalanced_mixed_model_finds_what_was_put_in() -> None:
    differences, targets = folds_of(200, 5, 0, between=0.03)
    kept = np.random.default_rng(0).random(1000) < 0.7
    found = mixed_mean(differences[kept], targets[kept])
    assert abs(found.mean - 0.02) < 3 * found.se
    assert (found.sd_between, found.sd_within) == pytest.approx((0.03, 0.01), rel=0.15)
    assert (found.targets, found.n) == (200, kept.sum())


def test_a_mixed_model_that_would_pool_the_folds_has_no_p() -> None:
    folds = np.array([-0.02, -0.01, 0.0, 0.01, 0.03])
    found = mixed_mean(np.tile(folds, 4), np.repeat(np.arange(4), 5))
    assert np.isnan([found.p, found.se]).all()
    assert found.reason == "targets do not differ more than their folds: use the signed-rank test"


@pytest.mark.parametrize(
    ("targets", "reason"),
    [
        ([1, 1, 2, 2], "2 targets: a mixed model needs at least 3"),
        ([1, 2, 3, 4], "each target has one difference: use the signed-rank test"),
    ],
)
def test_a_mixed_model_of_too_little_has_no_p(targets: list[int], reason: str) -> None:
    found = mixed_mean(np.array([0.1, 0.2, 0.3, 0.5]), targets)
    assert np.isnan(found.p)
    assert found.reason == reason


def test_holm_is_that_of_statsmodels_and_of_the_paper() -> None:
    p = np.random.default_rng(0).random(9) ** 3
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], rel=1e-12)
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06], rel=1e-12)


def test_a_missing_p_counts_in_its_family_and_stays_missing() -> None:
    assert holm([0.01, np.nan]) == pytest.approx([0.02, np.nan], nan_ok=True)
    assert len(holm([])) == 0
    with pytest.raises(ValueError, match=r"p-value 1.5 is not in \[0, 1\]"):
        holm([1.5])


def test_summaries_are_those_of_numpy_and_count_what_is_undefined() -> None:
    frame = pd.DataFrame({"depth": pd.array([1, 1, 1, None], dtype="Int64"), "score": [0.5, 0.7, np.nan, 0.9]})
    found = summarise(frame, "score", ["depth"])
    assert found["mean"].tolist() == pytest.approx([0.6, 0.9])
    assert found["sd"].tolist() == pytest.approx([np.std([0.5, 0.7], ddof=1), np.nan], nan_ok=True)
    assert found[["n", "undefined"]].to_numpy().tolist() == [[2, 1], [1, 0]]
    with pytest.raises(ValueError, match="the frame has no column 'auroc'"):
        summarise(frame, "auroc", ["depth"])
