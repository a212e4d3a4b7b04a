"""Frechet distances against scipy's matrix square root and closed forms."""

from functools import reduce
from itertools import permutations
from operator import add

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.stats import ortho_group

from sweeper.probes.fid import Moments, fid, frechet, moments


def _features(seed: int, images: int = 300, dims: int = 8) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return draw.normal(size=(images, dims)) @ draw.normal(size=(dims, dims)) + draw.normal(size=dims)


def _gaussian(mean: np.ndarray, covariance: np.ndarray) -> Moments:
    """Moments whose mean and covariance are exactly these."""
    return Moments(images=101, mean=mean, scatter=covariance * 100)


def test_the_distance_is_that_by_scipys_matrix_square_root() -> None:
    one, other = _features(0), _features(1, images=200)
    s, t = np.cov(one.T), np.cov(other.T)
    step = one.mean(axis=0) - other.mean(axis=0)
    expected = step @ step + np.trace(s + t - 2 * np.real(sqrtm(s @ t)))
    assert fid(one, other).distance == pytest.approx(expected, rel=1e-9)


def test_two_gaussians_on_a_line_are_apart_by_means_and_deviations() -> None:
    found = frechet(_gaussian(np.array([1.0]), np.array([[4.0]])), _gaussian(np.array([4.0]), np.array([[25.0]])))
    assert (found.means, found.covariances) == pytest.approx((9.0, 9.0), rel=1e-12)
    assert found.distance == pytest.approx(18.0, rel=1e-12)


def test_covariances_that_commute_are_apart_by_the_roots_of_their_eigenvalues() -> None:
    turn = ortho_group.rvs(5, random_state=0)
    a, b = np.array([1.0, 2, 3, 4, 5]), np.array([9.0, 1, 0.5, 0, 2])
    zero = np.zeros(5)
    found = frechet(_gaussian(zero, turn * a @ turn.T), _gaussian(zero, turn * b @ turn.T))
    assert found.distance == pytest.approx(np.sum((np.sqrt(a) - np.sqrt(b)) ** 2), rel=1e-10)
    assert found.ranks == (5, 4)


@pytest.mark.parametrize("images", [300, 5])
def test_a_set_is_not_apart_from_itself(images: int) -> None:
    features = _features(2, images=images)
    assert fid(features, features).distance == pytest.approx(0.0, abs=1e-11)


def test_planes_at_right_angles_share_nothing() -> None:
    one, other = np.zeros((50, 4)), np.zeros((50, 4))
    one[:, :2], other[:, 2:] = _features(3, 50, 2), _features(4, 50, 2)
    found = fid(one - one.mean(axis=0), other - other.mean(axis=0))
    assert found.distance == pytest.approx(np.trace(np.cov(one.T)) + np.trace(np.cov(other.T)), rel=1e-10)
    assert found.ranks == (2, 2)


def test_fewer_images_than_features_show_in_the_rank() -> None:
    assert fid(_features(5, images=6), _features(6)).ranks == (5, 8)


def test_low_rank_covariances_have_the_distance_within_their_common_plane() -> None:
    # Where S T is singular, scipy's square root of it fails or is complex; in the plane it is neither.
    turn = ortho_group.rvs(12, random_state=1)[:3]
    one, other = _features(7, dims=3), _features(8, dims=3)
    assert fid(one @ turn, other @ turn).distance == pytest.approx(fid(one, other).distance, rel=1e-9)


def test_features_that_never_change_are_apart_by_their_means_and_the_others_variance() -> None:
    other = _features(9)
    found = fid(np.ones((10, 8)), other)
    assert found.distance == pytest.approx(np.sum((1 - other.mean(axis=0)) ** 2) + np.trace(np.cov(other.T)))
    assert found.ranks == (0, 8)


def test_the_sets_may_be_exchanged_turned_and_shifted() -> None:
    one, other, turn = _features(10), _features(11), ortho_group.rvs(8, random_state=2)
    expected = fid(one, other).distance
    assert fid(other, one).distance == pytest.approx(expected, rel=1e-10)
    assert fid(one @ turn + 3, other @ turn + 3).distance == pytest.approx(expected, rel=1e-10)


def test_moments_are_numpys_mean_and_covariance() -> None:
    features = _features(12)
    found = moments(features)
    np.testing.assert_allclose(found.mean, features.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.scatter / 299, np.cov(features.T), rtol=1e-10)


def test_moments_of_pieces_add_up_to_those_of_the_whole_far_from_zero() -> None:
    features = _features(13) + 1e6
    pieces = [moments(piece) for piece in np.split(features, [1, 40, 200])]
    merged, whole = reduce(add, pieces), moments(features)
    assert merged.images == 300
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-14)
    np.testing.assert_allclose(merged.scatter, whole.scatter, rtol=1e-8)


def test_pieces_may_be_merged_in_any_order() -> None:
    pieces = [moments(piece) for piece in np.split(_features(14), [10, 150])]
    for order in permutations(pieces):
        np.testing.assert_allclose(reduce(add, order).scatter, reduce(add, pieces).scatter, rtol=1e-10)


def test_torch_tensors_of_single_precision_are_summed_in_double() -> None:
    features = torch.tensor(_features(15) + 1e4, dtype=torch.float32)
    np.testing.assert_allclose(moments(features).scatter / 299, np.cov(features.double().numpy().T), rtol=1e-9)


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (np.ones((3, 2)), np.ones((3, 4)), "2 features an image and the other 4"),
        (np.ones((1, 2)), np.ones((3, 2)), "at least two images, a set has 1"),
        (np.ones((0, 2)), np.ones((3, 2)), r"shape \(0, 2\)"),
        (np.ones((3, 2, 1)), np.ones((3, 2)), r"shape \(3, 2, 1\)"),
        (np.full((3, 2), np.nan), np.ones((3, 2)), "not finite"),
    ],
)
def test_what_is_no_set_of_features_is_refused(one: np.ndarray, other: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fid(one, other)


def test_moments_of_different_extractors_are_not_merged() -> None:
    with pytest.raises(ValueError, match="2 and of 3 dimensions"):
        moments(np.ones((3, 2))) + moments(np.ones((3, 3)))
