"""Debiased CKA against published golden values, the sums of Song et al. written out, and its invariances."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from golden_layers import golden_layers, normal

from sweeper.probes.cka import Estimator, cka, cka_pairs, hsic_pairs


def _hsic_by_definition(left: np.ndarray, right: np.ndarray) -> float:
    """The unbiased HSIC as the U-statistic it is: a mean over all ordered quadruples of different images."""
    terms = [
        left[i, j] * right[i, j] + left[i, j] * right[q, r] - 2 * left[i, j] * right[i, q]
        for i, j, q, r in permutations(range(len(left)), 4)
    ]
    return float(np.mean(terms))


def _cka_by_definition(x: np.ndarray, y: np.ndarray) -> float:
    left, right = x @ x.T, y @ y.T
    selves = _hsic_by_definition(left, left) * _hsic_by_definition(right, right)
    return _hsic_by_definition(left, right) / math.sqrt(selves)


def test_the_golden_layers_are_drawn_as_they_were() -> None:
    first, second = golden_layers()
    assert (first.sum(), second.sum()) == pytest.approx((103.450931, -155.062271), abs=1e-6)


def test_cka_of_the_golden_layers_is_the_golden_value() -> None:
    assert cka(*golden_layers()) == pytest.approx(0.73080016, abs=5e-9)


@pytest.mark.parametrize("images", [4, 5, 7])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cka_of_few_images_is_the_mean_over_quadruples_of_song_et_al(images: int, seed: int) -> None:
    x, y = normal(images, 3, seed=seed), normal(images, 5, seed=seed + 10)
    assert cka(x, y) == pytest.approx(_cka_by_definition(x, y), abs=1e-10)


def test_a_layer_is_alike_to_itself() -> None:
    x = normal(30, 12)
    assert cka(x, x) == pytest.approx(1, abs=1e-12)


def test_the_two_sides_may_be_exchanged() -> None:
    x, y = golden_layers()
    assert cka(x, y) == pytest.approx(cka(y, x), abs=1e-12)


def test_a_rotation_of_the_features_changes_nothing() -> None:
    x, y = golden_layers()
    rotation, _ = np.linalg.qr(normal(20, 20, seed=1))
    assert cka(x @ rotation, y) == pytest.approx(cka(x, y), abs=1e-12)


def test_isotropic_scaling_changes_nothing() -> None:
    x, y = golden_layers()
    assert cka(1e-3 * x, -70 * y) == pytest.approx(cka(x, y), abs=1e-12)


def test_scaling_a_single_feature_does_change_it() -> None:
    x, y = golden_layers()
    assert abs(cka(x * np.r_[10, np.ones(19)], y) - cka(x, y)) > 0.05


def test_a_shift_a_million_times_the_spread_changes_nothing() -> None:
    x, y = golden_layers()
    assert cka(x + 1e6, y) == pytest.approx(cka(x, y), abs=1e-7)


def test_the_order_of_images_matters() -> None:
    x, y = golden_layers()
    assert abs(cka(x, y[np.random.default_rng(0).permutation(500)])) < 0.05


def test_unrelated_features_are_near_zero_however_many_there_are() -> None:
    values = [cka(normal(300, 2000, seed=2 * s), normal(300, 2000, seed=2 * s + 1)) for s in range(10)]
    # The biased estimator reads about 0.87 here; one value has a standard deviation of about 0.005.
    assert abs(np.mean(values)) < 0.01


def test_unrelated_features_are_as_often_below_zero_as_above() -> None:
    values = [cka(normal(20, 50, seed=2 * s), normal(20, 50, seed=2 * s + 1)) for s in range(60)]
    assert 15 <= sum(value < 0 for value in values) <= 45


def test_a_matrix_holds_the_value_of_each_pair() -> None:
    xs = [normal(25, width, seed=width) for width in (2, 9, 40)]
    ys = [normal(25, width, seed=width) @ normal(width, 6, seed=1) for width in (9, 40)]
    expected = [[cka(x, y) for y in ys] for x in xs]
    np.testing.assert_allclose(cka_pairs(xs, ys), expected, atol=1e-12)


def test_a_matrix_of_layers_with_themselves_is_symmetric_with_a_diagonal_of_ones() -> None:
    xs = [normal(25, width, seed=width) for width in (2, 9, 40)]
    matrix = cka_pairs(xs, xs)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    np.testing.assert_allclose(np.diag(matrix), 1, atol=1e-12)


def test_more_features_than_are_taken_at_a_time_give_the_same_value(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = normal(12, 40), normal(12, 25, seed=1)
    whole = cka(x, y)
    monkeypatch.setattr("sweeper.probes.cka.COLUMNS", 3)
    assert cka(x, y) == pytest.approx(whole, abs=1e-12)


def test_torch_tensors_give_the_value_of_numpy_arrays() -> None:
    x, y = golden_layers()
    assert cka(torch.tensor(x, requires_grad=True), torch.tensor(y)) == cka(x, y)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float16, 1e-3), (torch.bfloat16, 1e-2)])
def test_features_in_low_precision_are_computed_in_high_precision(dtype: torch.dtype, tolerance: float) -> None:
    x, y = (torch.tensor(each) for each in golden_layers())
    assert cka(x.to(dtype), y.to(dtype)) == pytest.approx(cka(x, y), abs=tolerance)


@pytest.mark.parametrize("value", [0.0, 1 / 3, -1e4])
def test_constant_features_have_no_similarity(value: float) -> None:
    assert math.isnan(cka(np.full((50, 7), value, dtype=np.float32), normal(50, 3)))


def test_features_in_which_one_image_differs_have_no_similarity() -> None:
    x = np.tile(normal(1, 7).astype(np.float32), (50, 1))
    x[13] += 1
    assert math.isnan(cka(x, x))


def test_a_dead_layer_leaves_the_other_pairs_of_a_matrix_alone() -> None:
    x, y = golden_layers()
    matrix = cka_pairs([x, np.zeros((500, 4))], [y])
    assert matrix[0, 0] == pytest.approx(0.73080016, abs=5e-9)
    assert math.isnan(matrix[1, 0])


def test_three_images_are_too_few() -> None:
    with pytest.raises(ValueError, match="at least 4 images, there are 3"):
        cka(normal(3, 2), normal(3, 2))


def test_different_numbers_of_images_are_refused() -> None:
    with pytest.raises(ValueError, match="one side has 8 images, the other 9"):
        cka(normal(8, 2), normal(9, 2))


def test_different_numbers_of_images_on_one_side_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[8, 9\] images"):
        cka_pairs([normal(8, 2), normal(9, 2)], [normal(8, 2)])


def test_feature_maps_must_be_flattened_first() -> None:
    with pytest.raises(ValueError, match="flatten"):
        cka(normal(8, 2, 3), normal(8, 2))


def test_features_that_are_not_finite_are_refused() -> None:
    x = normal(8, 2)
    x[3, 1] = np.inf
    with pytest.raises(ValueError, match="not finite"):
        cka(x, normal(8, 2))


def test_an_empty_list_of_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one layer"):
        cka_pairs([], [normal(8, 2)])


def test_biased_cka_of_the_golden_layers_is_the_golden_value() -> None:
    assert cka(*golden_layers(), estimator="biased") == pytest.approx(0.73376148, abs=5e-9)


def test_biased_cka_of_unrelated_wide_layers_is_far_above_zero() -> None:
    # Gram matrices of p unrelated features are p (I + noise of 1 / sqrt(p)): CKA = n / (n + n^2 / p), for p = 2000.
    values = [cka(normal(300, 2000, seed=2 * s), normal(300, 2000, seed=2 * s + 1), estimator="biased") for s in (0, 1)]
    assert np.mean(values) == pytest.approx(1 / (1 + 300 / 2000), abs=0.01)


@pytest.mark.parametrize("widths", [(3, 5), (3, 40), (40, 60)])
def test_unbiased_hsic_is_the_mean_over_quadruples_of_song_et_al(widths: tuple[int, int]) -> None:
    x, y = normal(8, widths[0]), normal(8, widths[1], seed=1)
    found = hsic_pairs([x], [y])
    assert found.cross[0, 0] == pytest.approx(_hsic_by_definition(x @ x.T, y @ y.T), rel=1e-10)
    assert found.own_x[0] == pytest.approx(_hsic_by_definition(x @ x.T, x @ x.T), rel=1e-10)


def test_biased_hsic_is_the_squared_norm_of_the_covariance() -> None:
    x, y = normal(50, 3), normal(50, 70, seed=1)
    covariance = np.cov(x.T, y.T)[:3, 3:]  # over n - 1
    assert hsic_pairs([x], [y], estimator="biased").cross[0, 0] == pytest.approx(np.sum(covariance**2), rel=1e-12)


def test_biased_cka_of_single_features_is_their_squared_correlation() -> None:
    x, y = golden_layers()
    expected = np.corrcoef(x[:, 0], y[:, 0])[0, 1] ** 2
    assert cka(x[:, :1], y[:, :1], estimator="biased") == pytest.approx(expected, rel=1e-12)


def test_biased_cka_is_rsatoolboxs_whitened_similarity_of_distances() -> None:
    draw = np.random.default_rng(5)
    x, y = draw.normal(size=(60, 7)), draw.normal(size=(60, 90))
    y[:, :7] += 2 * x
    # rsatoolbox 0.3.2: compare(method="cosine_cov") of squared Euclidean distances, which Diedrichsen et al. 2021
    # show to be linear CKA.
    assert cka(x, y + 3, estimator="biased") == pytest.approx(0.6418978820486494, rel=1e-13)


@pytest.mark.parametrize("estimator", ["debiased", "biased"])
def test_gram_matrices_give_the_value_of_the_features(estimator: Estimator) -> None:
    xs, ys = [normal(30, 4) + 3, normal(30, 90)], [normal(30, 12, seed=1)]
    grams = [[x @ x.T for x in each] for each in (xs, ys)]
    expected = cka_pairs(xs, ys, estimator=estimator)
    np.testing.assert_allclose(hsic_pairs(*grams, estimator=estimator, grams=True).cka(), expected, rtol=1e-11)


@pytest.mark.parametrize("estimator", ["debiased", "biased"])
def test_the_way_by_covariances_and_the_way_by_images_give_the_same_values(
    estimator: Estimator, monkeypatch: pytest.MonkeyPatch
) -> None:
    xs, ys = [normal(400, width, seed=width) for width in (2, 9, 20)], [normal(400, 9, seed=9) ** 2]
    by_features = [cka_pairs(xs, each, estimator=estimator) for each in (xs, ys)]
    monkeypatch.setattr("sweeper.probes.cka._by_features", lambda *_: None)
    by_images = [cka_pairs(xs, each, estimator=estimator) for each in (xs, ys)]
    for one, other in zip(by_features, by_images, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-13)


def test_bands_of_any_height_give_the_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    xs = [normal(31, width, seed=width) for width in (20, 31, 90)]
    whole = cka_pairs(xs, xs)
    monkeypatch.setattr("sweeper.probes.cka.TILE", 500)
    np.testing.assert_allclose(cka_pairs(xs, xs), whole, atol=1e-14)


def test_an_image_a_million_times_as_far_as_the_others_is_not_lost_in_rounding() -> None:
    x, y = normal(300, 5), normal(300, 4, seed=1)
    y[:, 0] += x[:, 0]
    x[7, 1] += 1e6
    # With one row of size a, U-centring leaves terms of size a^2 / n: the others' still count in the exact sums.
    exact = _unbiased_in_longdouble(x, y) / math.sqrt(_unbiased_in_longdouble(x, x) * _unbiased_in_longdouble(y, y))
    assert cka(x, y) == pytest.approx(exact, rel=1e-6)


def _unbiased_in_longdouble(x: np.ndarray, y: np.ndarray) -> float:
    """Song et al. 2012, eq. 5, times n (n - 3)."""
    n, ones = len(x), np.ones(len(x), dtype=np.longdouble)
    left, right = (np.asarray(each, dtype=np.longdouble) for each in (x - x.mean(0), y - y.mean(0)))
    left, right = left @ left.T, right @ right.T
    np.fill_diagonal(left, 0)
    np.fill_diagonal(right, 0)
    sums = (ones @ left @ ones) * (ones @ right @ ones) / ((n - 1) * (n - 2))
    return float((left * right).sum() + sums - 2 / (n - 2) * (ones @ left @ right @ ones))


def test_one_image_has_no_biased_cka() -> None:
    with pytest.raises(ValueError, match="biased CKA needs at least 2 images, there are 1"):
        cka(normal(1, 2), normal(1, 2), estimator="biased")


def test_a_matrix_that_is_no_gram_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match="not symmetric"):
        hsic_pairs([normal(8, 8)], [np.eye(8)], grams=True)
    with pytest.raises(ValueError, match="shape"):
        hsic_pairs([normal(8, 5)], [np.eye(8)], grams=True)
