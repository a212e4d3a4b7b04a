"""Debiased CKA against published golden values, the sums of Song et al. written out, and its invariances."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch

from sweeper.probes.cka import cka, cka_matrix


def _golden() -> tuple[np.ndarray, np.ndarray]:
    """Two layers that share eight factors, as in the golden values of google/svcca and study 1's CKA."""
    draw = np.random.RandomState(0)
    factors = draw.randn(8, 500)
    first = draw.randn(20, 8) @ factors + 0.5 * draw.randn(20, 500)
    second = draw.randn(15, 8) @ factors + 0.5 * draw.randn(15, 500)
    return first.T, second.T


def _normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


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
    first, second = _golden()
    assert (first.sum(), second.sum()) == pytest.approx((103.450931, -155.062271), abs=1e-6)


def test_cka_of_the_golden_layers_is_the_golden_value() -> None:
    assert cka(*_golden()) == pytest.approx(0.73080016, abs=5e-9)


@pytest.mark.parametrize("images", [4, 5, 7])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cka_of_few_images_is_the_mean_over_quadruples_of_song_et_al(images: int, seed: int) -> None:
    x, y = _normal(images, 3, seed=seed), _normal(images, 5, seed=seed + 10)
    assert cka(x, y) == pytest.approx(_cka_by_definition(x, y), abs=1e-10)


def test_a_layer_is_alike_to_itself() -> None:
    x = _normal(30, 12)
    assert cka(x, x) == pytest.approx(1, abs=1e-12)


def test_the_two_sides_may_be_exchanged() -> None:
    x, y = _golden()
    assert cka(x, y) == pytest.approx(cka(y, x), abs=1e-12)


def test_a_rotation_of_the_features_changes_nothing() -> None:
    x, y = _golden()
    rotation, _ = np.linalg.qr(_normal(20, 20, seed=1))
    assert cka(x @ rotation, y) == pytest.approx(cka(x, y), abs=1e-12)


def test_isotropic_scaling_changes_nothing() -> None:
    x, y = _golden()
    assert cka(1e-3 * x, -70 * y) == pytest.approx(cka(x, y), abs=1e-12)


def test_scaling_a_single_feature_does_change_it() -> None:
    x, y = _golden()
    assert abs(cka(x * np.r_[10, np.ones(19)], y) - cka(x, y)) > 0.05


def test_a_shift_a_million_times_the_spread_changes_nothing() -> None:
    x, y = _golden()
    assert cka(x + 1e6, y) == pytest.approx(cka(x, y), abs=1e-7)


def test_the_order_of_images_matters() -> None:
    x, y = _golden()
    assert abs(cka(x, y[np.random.default_rng(0).permutation(500)])) < 0.05


def test_unrelated_features_are_near_zero_however_many_there_are() -> None:
    values = [cka(_normal(300, 2000, seed=2 * s), _normal(300, 2000, seed=2 * s + 1)) for s in range(10)]
    # The biased estimator reads about 0.87 here; one value has a standard deviation of about 0.005.
    assert abs(np.mean(values)) < 0.01


def test_unrelated_features_are_as_often_below_zero_as_above() -> None:
    values = [cka(_normal(20, 50, seed=2 * s), _normal(20, 50, seed=2 * s + 1)) for s in range(60)]
    assert 15 <= sum(value < 0 for value in values) <= 45


def test_a_matrix_holds_the_value_of_each_pair() -> None:
    xs = [_normal(25, width, seed=width) for width in (2, 9, 40)]
    ys = [_normal(25, width, seed=width) @ _normal(width, 6, seed=1) for width in (9, 40)]
    expected = [[cka(x, y) for y in ys] for x in xs]
    np.testing.assert_allclose(cka_matrix(xs, ys), expected, atol=1e-12)


def test_a_matrix_of_layers_with_themselves_is_symmetric_with_a_diagonal_of_ones() -> None:
    xs = [_normal(25, width, seed=width) for width in (2, 9, 40)]
    matrix = cka_matrix(xs, xs)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    np.testing.assert_allclose(np.diag(matrix), 1, atol=1e-12)


def test_more_features_than_are_taken_at_a_time_give_the_same_value(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = _golden()
    whole = cka(x, y)
    monkeypatch.setattr("sweeper.probes.cka.COLUMNS", 3)
    assert cka(x, y) == pytest.approx(whole, abs=1e-12)


def test_torch_tensors_give_the_value_of_numpy_arrays() -> None:
    x, y = _golden()
    assert cka(torch.tensor(x, requires_grad=True), torch.tensor(y)) == cka(x, y)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float16, 1e-3), (torch.bfloat16, 1e-2)])
def test_features_in_low_precision_are_computed_in_high_precision(dtype: torch.dtype, tolerance: float) -> None:
    x, y = (torch.tensor(each) for each in _golden())
    assert cka(x.to(dtype), y.to(dtype)) == pytest.approx(cka(x, y), abs=tolerance)


@pytest.mark.parametrize("value", [0.0, 1 / 3, -1e4])
def test_constant_features_have_no_similarity(value: float) -> None:
    assert math.isnan(cka(np.full((50, 7), value, dtype=np.float32), _normal(50, 3)))


def test_features_in_which_one_image_differs_have_no_similarity() -> None:
    x = np.tile(_normal(1, 7).astype(np.float32), (50, 1))
    x[13] += 1
    assert math.isnan(cka(x, x))


def test_a_dead_layer_leaves_the_other_pairs_of_a_matrix_alone() -> None:
    x, y = _golden()
    matrix = cka_matrix([x, np.zeros((500, 4))], [y])
    assert matrix[0, 0] == pytest.approx(0.73080016, abs=5e-9)
    assert math.isnan(matrix[1, 0])


def test_three_images_are_too_few() -> None:
    with pytest.raises(ValueError, match="at least 4 images, there are 3"):
        cka(_normal(3, 2), _normal(3, 2))


def test_different_numbers_of_images_are_refused() -> None:
    with pytest.raises(ValueError, match="one side has 8 images, the other 9"):
        cka(_normal(8, 2), _normal(9, 2))


def test_different_numbers_of_images_on_one_side_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[8, 9\] images"):
        cka_matrix([_normal(8, 2), _normal(9, 2)], [_normal(8, 2)])


def test_feature_maps_must_be_flattened_first() -> None:
    with pytest.raises(ValueError, match="flatten"):
        cka(_normal(8, 2, 3), _normal(8, 2))


def test_features_that_are_not_finite_are_refused() -> None:
    x = _normal(8, 2)
    x[3, 1] = np.inf
    with pytest.raises(ValueError, match="not finite"):
        cka(x, _normal(8, 2))


def test_an_empty_list_of_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one layer"):
        cka_matrix([], [_normal(8, 2)])
