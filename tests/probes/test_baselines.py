"""Baselines against expectations over random matrices and all permutations, and the definition of a p-value."""

import math
from collections.abc import Sequence
from functools import partial
from itertools import permutations

import numpy as np
import pytest
import torch
from golden_layers import golden_layers, normal

from sweeper.probes.baselines import gaussian_values, permutation_null
from sweeper.probes.cca import cca
from sweeper.probes.cka import cka, cka_pairs
from sweeper.probes.procrustes import procrustes_pairs
from sweeper.probes.samples import Features


def _squares(xs: Sequence[Features], ys: Sequence[Features]) -> np.ndarray:
    return np.array([[(cca(x, y) ** 2).sum() for y in ys] for x in xs])


def test_squared_correlations_of_random_features_sum_to_what_the_beta_law_says() -> None:
    found = gaussian_values(_squares, [normal(101, 6)], [normal(101, 4), normal(101, 9)], draws=200, seed=0)
    assert found.shape == (200, 1, 2)
    np.testing.assert_allclose(found.mean(axis=0)[0], [6 * 4 / 100, 6 * 9 / 100], rtol=0.05)  # p q / (n - 1)


def test_random_features_are_drawn_by_the_seed_and_the_shapes_alone() -> None:
    first = gaussian_values(cka_pairs, [normal(20, 6)], [normal(20, 4)], draws=3, seed=0)
    again = gaussian_values(cka_pairs, [torch.zeros(20, 6)], [torch.ones(20, 4)], draws=3, seed=0)
    np.testing.assert_array_equal(first, again)
    assert len(set(first.ravel())) == 3


def test_random_features_of_a_layer_against_itself_are_two_draws() -> None:
    xs = [normal(200, 6)]
    assert abs(gaussian_values(cka_pairs, xs, xs, draws=1, seed=0)).max() < 0.2


def test_debiased_cka_over_all_permutations_has_mean_zero() -> None:
    x, y = normal(6, 3), normal(6, 2, seed=1)
    values = [cka(x, y[list(order)]) for order in permutations(range(6))]
    assert np.mean(values) == pytest.approx(0, abs=1e-12)
    null = permutation_null(cka_pairs, [x], [y], permutations=2000, seed=0)
    low, median, high = np.quantile(values, [0.025, 0.5, 0.975])
    assert null.low[0, 0] == pytest.approx(low, abs=0.05)
    assert null.median[0, 0] == pytest.approx(median, abs=0.05)
    assert null.high[0, 0] == pytest.approx(high, abs=0.05)
    exact = np.mean(np.array(values) >= values[0] - 1e-12)
    assert null.p_value[0, 0] == pytest.approx(exact, abs=0.04)


def test_related_layers_have_the_smallest_p_value_and_lie_above_the_band() -> None:
    x, y = golden_layers()
    null = permutation_null(cka_pairs, [x], [y], permutations=19, seed=0)
    assert null.value[0, 0] == cka(x, y)
    assert null.p_value[0, 0] == 1 / 20
    assert null.low[0, 0] < 0.05 > null.high[0, 0]


def test_one_in_twenty_pairs_without_relation_has_a_p_value_of_one_twentieth() -> None:
    xs, ys = ([normal(30, 3, seed=100 * side + i) for i in range(20)] for side in (0, 1))
    shares = [
        (permutation_null(cka_pairs, xs, ys, permutations=19, seed=seed).p_value == 1 / 20).mean() for seed in range(5)
    ]
    assert np.mean(shares) == pytest.approx(1 / 20, abs=0.03)


def test_the_permutations_of_all_layers_are_the_same_ones() -> None:
    xs, ys = [normal(30, 3), normal(30, 50)], [torch.tensor(normal(30, 4, seed=1)), normal(30, 6, seed=2)]
    whole = permutation_null(procrustes_pairs, xs, ys, permutations=9, seed=1)
    part = permutation_null(procrustes_pairs, xs[1:], ys[1:], permutations=9, seed=1)
    np.testing.assert_allclose(whole.high[1, 1], part.high[0, 0], atol=1e-14)
    assert permutation_null(procrustes_pairs, xs, ys, permutations=9, seed=2).high[0, 0] != whole.high[0, 0]


def test_a_value_that_no_permutation_changes_has_a_p_value_of_one() -> None:
    one_hot = [np.eye(8)]  # each image as far from each: any order has the same Gram matrix
    null = permutation_null(partial(cka_pairs, estimator="biased"), one_hot, one_hot, permutations=9, seed=0)
    assert (null.value[0, 0], null.p_value[0, 0]) == (pytest.approx(1, abs=1e-12), 1)


def test_a_dead_layer_has_no_p_value() -> None:
    null = permutation_null(cka_pairs, [np.zeros((20, 3))], [normal(20, 3)], permutations=9, seed=0)
    assert all(math.isnan(each[0, 0]) for each in (null.value, null.low, null.median, null.high, null.p_value))


@pytest.mark.parametrize(("permutation_count", "band"), [(0, 0.95), (9, 0.0), (9, 1.0)])
def test_a_null_of_nothing_is_refused(permutation_count: int, band: float) -> None:
    with pytest.raises(ValueError, match=r"permutations=0|band="):
        permutation_null(cka_pairs, [normal(9, 2)], [normal(9, 2)], permutations=permutation_count, seed=0, band=band)


def test_layers_of_different_images_cannot_be_permuted_alike() -> None:
    with pytest.raises(ValueError, match=r"\[9, 10\] images"):
        permutation_null(cka_pairs, [normal(9, 2)], [normal(10, 2)], permutations=9, seed=0)


def test_no_draws_are_refused() -> None:
    with pytest.raises(ValueError, match="draws=0"):
        gaussian_values(cka_pairs, [normal(9, 2)], [normal(9, 2)], draws=0, seed=0)
