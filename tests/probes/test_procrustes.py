"""Procrustes similarity against scipy's two Procrustes problems, closed forms and the axioms of a metric."""

import math

import numpy as np
import pytest
import torch
from golden_layers import golden_layers, normal
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import procrustes as scipy_procrustes

from sweeper.probes.procrustes import procrustes, procrustes_pairs


def _scaled(x: np.ndarray) -> np.ndarray:
    x = x - x.mean(axis=0)
    return x / np.linalg.norm(x)


def test_one_minus_its_square_is_scipys_disparity() -> None:
    x, y = normal(60, 5), normal(60, 5, seed=1)
    y[:, :2] += x[:, :2]
    assert 1 - procrustes(x, y) ** 2 == pytest.approx(scipy_procrustes(x, y)[2], abs=1e-12)


@pytest.mark.parametrize("widths", [(5, 9), (9, 5), (5, 100), (90, 100)])
def test_the_distance_is_what_the_best_rotation_leaves_of_sides_padded_with_zeros(widths: tuple[int, int]) -> None:
    x, y = (normal(60, width, seed=width) for width in widths)
    padded = [np.pad(_scaled(each), ((0, 0), (0, max(widths) - each.shape[1]))) for each in (x, y)]
    rotation, _ = orthogonal_procrustes(padded[0], padded[1])
    left_over = np.linalg.norm(padded[0] @ rotation - padded[1]) ** 2
    assert 2 - 2 * procrustes(x, y) == pytest.approx(left_over, abs=1e-12)


def test_of_single_features_it_is_the_absolute_correlation() -> None:
    x, y = golden_layers()
    expected = abs(np.corrcoef(x[:, 0], y[:, 0])[0, 1])
    assert procrustes(x[:, :1], y[:, :1]) == pytest.approx(expected, abs=1e-12)


def test_rotation_shift_and_isotropic_scaling_change_nothing() -> None:
    x, y = golden_layers()
    rotation, _ = np.linalg.qr(normal(20, 20, seed=1))
    assert procrustes(-3e4 * x @ rotation + 7, 1e-3 * y) == pytest.approx(procrustes(x, y), abs=1e-12)


def test_scaling_a_single_feature_does_change_it() -> None:
    x, y = golden_layers()
    assert abs(procrustes(x * np.r_[10, np.ones(19)], y) - procrustes(x, y)) > 0.05


def test_the_angle_is_a_metric() -> None:
    layers = [normal(10, width, seed=width) for width in (1, 2, 3, 4, 12)]
    angles = np.arccos(procrustes_pairs(layers, layers))
    np.testing.assert_allclose(angles, angles.T, atol=1e-12)
    np.testing.assert_allclose(np.diag(angles), 0, atol=1e-7)  # the arc cosine doubles the digits lost at 1
    assert (angles[:, :, None] + angles[None, :, :] >= angles[:, None, :] - 1e-12).all()


def test_a_matrix_holds_the_value_of_each_pair() -> None:
    xs, ys = [normal(25, 3), normal(25, 40)], [normal(25, 3, seed=1), normal(25, 9), normal(25, 60)]
    np.testing.assert_allclose(procrustes_pairs(xs, ys), [[procrustes(x, y) for y in ys] for x in xs], atol=1e-14)


def test_torch_tensors_in_low_precision_are_computed_in_high_precision() -> None:
    x, y = (torch.tensor(each).half() for each in golden_layers())
    assert procrustes(x, y) == procrustes(x.double().numpy(), y.double().numpy())


def test_constant_features_have_no_similarity() -> None:
    assert math.isnan(procrustes(np.full((50, 7), 0.1), normal(50, 3)))


def test_different_numbers_of_images_are_refused() -> None:
    with pytest.raises(ValueError, match="one side has 8, the other 9"):
        procrustes(normal(8, 2), normal(9, 2))
