"""Transferability scores against brute force, regressions, discriminant analysis, hand counts and invariances."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from scipy.linalg import eigh
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, ortho_group
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LinearRegression

from sweeper.probes.transferability import SCORES, Target, h_score, leep, logme, nleep, transrate

SIX = ["logme", "h_score", "h_score_shrunk", "nleep", "knn", "linear_probe"]


def _data(seed: int, *, images: int = 60, dims: int = 5, classes: int = 3, gap: float = 1.0) -> tuple[np.ndarray, ...]:
    """Features of unequal scales whose class means lie about `gap` apart, and labels."""
    draw = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    centres = draw.normal(size=(classes, dims)) * gap
    return (centres[labels] + draw.normal(size=(images, dims))) * np.linspace(0.5, 3, dims), labels


def _target(seed: int, **settings: float) -> Target:
    features, labels = _data(seed, images=240, **settings)
    return Target(features=features, labels=labels, patients=np.arange(240) // 2, seed=0)


def _evidence(features: np.ndarray, target: np.ndarray) -> float:
    """The largest density of the target under a normal distribution, searched over both precisions at once."""

    def loss(logs: np.ndarray) -> float:
        alpha, beta = np.exp(np.clip(logs, -100, 100))
        covariance = np.eye(len(target)) / beta + features @ features.T / alpha
        return -multivariate_normal(cov=covariance, allow_singular=False).logpdf(target)

    starts = [(a, b) for a in (-3.0, 0.0, 3.0) for b in (0.0, 3.0)]
    return max(-minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-7}).fun for start in starts)


@pytest.mark.parametrize(("seed", "dims", "gap"), [(0, 3, 1.0), (1, 5, 0.3), (2, 8, 2.0)])
def test_logme_is_the_evidence_by_brute_force(seed: int, dims: int, gap: float) -> None:
    features, labels = _data(seed, images=24, dims=dims, gap=gap)
    expected = np.mean([_evidence(features, (labels == label).astype(float)) for label in range(3)]) / 24
    assert logme(features, labels) == pytest.approx(expected, abs=1e-7)


def test_logme_of_more_features_than_images_is_the_evidence_by_brute_force() -> None:
    features, labels = _data(3, images=12, dims=20, classes=2, gap=0.2)
    expected = np.mean([_evidence(features, (labels == label).astype(float)) for label in range(2)]) / 12
    assert logme(features, labels) == pytest.approx(expected, abs=1e-6)


def test_logme_of_features_without_information_is_that_of_noise_alone() -> None:
    # The labels are orthogonal to the features: the best weights are none, and beta is images / |y|^2 = 2.
    labels = np.array([0, 1] * 8)
    features = np.repeat([[1.0], [-1.0]], 8, axis=0) * np.ones((16, 1))
    assert logme(features, labels) == pytest.approx((math.log(2) - 1 - math.log(2 * math.pi)) / 2, abs=1e-9)


def test_logme_does_not_change_with_rotation_scale_or_dead_features() -> None:
    features, labels = _data(4)
    expected = logme(features, labels)
    assert logme(features @ ortho_group.rvs(5, random_state=0), labels) == pytest.approx(expected, abs=1e-9)
    assert logme(features * 1e-4, labels) == pytest.approx(expected, abs=1e-9)
    assert logme(np.hstack([features, np.zeros((60, 3))]), labels) == pytest.approx(expected, abs=1e-9)


def test_logme_does_not_change_when_a_feature_is_split_into_copies() -> None:
    features, labels = _data(5)
    copies = np.hstack([features[:, :1] / math.sqrt(2)] * 2 + [features[:, 1:]])
    assert logme(copies, labels) == pytest.approx(logme(features, labels), abs=1e-9)


def test_features_that_hold_the_label_have_no_logme() -> None:
    features, labels = _data(6)
    with pytest.raises(ValueError, match="reproduce class 2 exactly with 6 directions for 60 images"):
        logme(np.hstack([features, (labels == 2)[:, None]]), labels)


def test_features_that_almost_hold_the_label_have_a_high_logme() -> None:
    features, labels = _data(6)
    near = np.eye(3)[labels] + 1e-9 * features[:, :3]
    assert 15 < logme(near, labels) < math.log(1e9)


def test_features_that_are_all_zero_have_no_logme() -> None:
    with pytest.raises(ValueError, match="all zero"):
        logme(np.zeros((4, 2)), np.array([0, 1, 0, 1]))


def test_the_h_score_of_two_classes_is_the_share_of_variance_that_a_regression_explains() -> None:
    features, labels = _data(7, classes=2)
    assert h_score(features, labels) == pytest.approx(LinearRegression().fit(features, labels).score(features, labels))


def test_the_h_score_is_the_sum_of_generalised_eigenvalues_of_discriminant_analysis() -> None:
    features, labels = _data(8)
    total = np.cov(features.T, bias=True)
    means = np.stack([features[labels == label].mean(axis=0) for label in range(3)])
    between = np.cov(means[labels].T, bias=True)
    assert h_score(features, labels) == pytest.approx(eigh(between, total, eigvals_only=True).sum(), rel=1e-10)


def test_the_h_score_does_not_change_with_linear_maps_shifts_or_copies_of_features() -> None:
    features, labels = _data(9)
    turn = np.random.default_rng(0).normal(size=(5, 5))
    assert h_score(features @ turn + 7, labels) == pytest.approx(h_score(features, labels), rel=1e-9)
    assert h_score(features @ turn[:, [0, 1, 2, 3, 4, 4, 0]], labels) == pytest.approx(h_score(features, labels))


def test_the_shrunk_h_score_is_that_of_scikit_learns_shrunk_covariance() -> None:
    features, labels = _data(10, images=30, dims=50)
    shrunk = LedoitWolf().fit(features)
    means = np.stack([features[labels == label].mean(axis=0) for label in range(3)])
    between = np.cov(means[labels].T, bias=True)
    expected = (1 - shrunk.shrinkage_) * np.trace(np.linalg.inv(shrunk.covariance_) @ between)
    assert h_score(features, labels, shrink=True) == pytest.approx(expected, rel=1e-9)


def test_the_shrunk_h_score_of_many_images_is_nearly_the_h_score() -> None:
    features, labels = _data(11, images=20_000)
    assert h_score(features, labels, shrink=True) == pytest.approx(h_score(features, labels), rel=2e-3)


def test_an_h_score_that_no_label_can_change_is_refused() -> None:
    with pytest.raises(ValueError, match=r"vary in 29 directions is 2 whatever the labels; use shrink=True"):
        h_score(*_data(12, images=30, dims=50))


@pytest.mark.parametrize("shrink", [False, True])
def test_the_h_score_of_constant_features_is_refused(shrink: bool) -> None:
    with pytest.raises(ValueError, match="these are constant"):
        h_score(np.zeros((4, 2)), np.array([0, 1, 0, 1]), shrink=shrink)


def test_leep_of_three_images_counted_by_hand() -> None:
    # p(y=0 | z=0) = .8 / 1.4, p(y=1 | z=0) = .6 / 1.4, p(y=0 | z=1) = .2 / 1.6, p(y=1 | z=1) = 1.4 / 1.6.
    source = np.array([[0.8, 0.2], [0.5, 0.5], [0.1, 0.9]])
    likelihoods = [
        0.8 * 0.8 / 1.4 + 0.2 * 0.2 / 1.6,
        0.5 * 0.6 / 1.4 + 0.5 * 1.4 / 1.6,
        0.1 * 0.6 / 1.4 + 0.9 * 1.4 / 1.6,
    ]
    assert leep(source, np.array([0, 1, 1])) == pytest.approx(np.mean(np.log(likelihoods)), abs=1e-12)


def test_leep_of_certain_source_classes_is_minus_the_conditional_entropy_of_the_labels() -> None:
    # NCE of Tran et al. 2019. Source class 0 holds labels 0, 0, 1, source class 1 holds 1.
    expected = (2 * math.log(2 / 3) + math.log(1 / 3)) / 4
    assert leep(np.eye(3)[[0, 0, 0, 1]], np.array([0, 0, 1, 1])) == pytest.approx(expected, abs=1e-12)


def test_leep_of_a_source_that_says_the_same_of_all_is_minus_the_entropy_of_the_labels() -> None:
    found = leep(np.tile([0.2, 0.3, 0.5], (10, 1)), np.array([0] * 7 + [1] * 3))
    assert found == pytest.approx(0.7 * math.log(0.7) + 0.3 * math.log(0.3), abs=1e-12)


def test_leep_of_a_source_that_tells_the_labels_is_zero() -> None:
    assert leep(np.eye(4)[[2, 0, 2, 3]], np.array([0, 1, 0, 2])) == 0.0


@pytest.mark.parametrize("source", [[[0.5, 0.6], [1.0, 0.0]], [[1.5, -0.5], [1.0, 0.0]]])
def test_leep_of_what_is_no_probability_is_refused(source: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="apply softmax"):
        leep(np.array(source), np.array([0, 1]))


def test_nleep_of_classes_far_apart_is_near_zero_and_of_one_cloud_minus_the_entropy() -> None:
    labels = np.arange(400) % 2
    noise = np.random.default_rng(0).normal(size=(400, 4))
    assert nleep(noise + 100 * labels[:, None], labels, seed=0) == pytest.approx(0.0, abs=1e-6)
    assert nleep(noise, labels, seed=0, components=1) == pytest.approx(-math.log(2), abs=0.02)


def test_nleep_of_one_seed_is_one_number() -> None:
    features, labels = _data(13, images=120)
    assert nleep(features, labels, seed=3) == nleep(features, labels, seed=3)


def test_nleep_of_fewer_images_than_components_is_refused() -> None:
    with pytest.raises(ValueError, match="15 components to 15 images"):
        nleep(*_data(14, images=15), seed=0)


def test_transrate_is_blind_to_classes_on_either_side_of_the_mean_of_a_line() -> None:
    # Within a class the features are not centred again, so their spread is as large as that of all: nothing is told.
    features = np.array([[-1.1], [-0.9], [0.9], [1.1]])
    assert transrate(features, np.array([0, 0, 1, 1])) == pytest.approx(0.0, abs=1e-12)


def test_transrate_of_classes_along_their_own_axes_has_a_closed_form() -> None:
    # Centred, class c lies at +-a on axis c: variances a^2 / 2 on both axes in all, a^2 on one within a class.
    features = np.array([[2.0, 0], [-2, 0], [0, 2], [0, -2]])
    found = transrate(features, np.array([0, 0, 1, 1]), epsilon=0.1)
    assert found == pytest.approx(math.log(1 + 2 / 0.1) - math.log(1 + 4 / 0.1) / 2, abs=1e-12)


def test_transrate_is_the_same_from_either_gram_matrix() -> None:
    features, labels = _data(15, images=40, dims=5)
    wide = features @ ortho_group.rvs(100, random_state=0)[:5]
    assert transrate(wide, labels) == pytest.approx(transrate(features, labels), abs=1e-8)


def test_transrate_weighs_classes_by_their_images_or_equally() -> None:
    features, labels = _data(16)
    assert transrate(features, labels, weights="equal") == pytest.approx(transrate(features, labels), abs=1e-12)
    few = np.where(np.arange(60) < 50, 0, labels * 0 + 1)
    assert transrate(features, few, weights="equal") != pytest.approx(transrate(features, few), abs=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_transrate_by_shares_is_never_negative(seed: int) -> None:
    features, labels = _data(seed, gap=0.0)
    assert transrate(features, np.minimum(labels, 1) * (np.arange(60) > 20)) >= -1e-12


def test_normalised_transrate_does_not_change_with_scale() -> None:
    features, labels = _data(17)
    expected = transrate(features, labels, normalise=True)
    assert transrate(features * 30, labels, normalise=True) == pytest.approx(expected, rel=1e-9)
    assert transrate(features / 100, labels) != pytest.approx(transrate(features, labels), rel=0.01)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.nan, math.inf])
def test_a_distortion_that_is_not_positive_is_refused(epsilon: float) -> None:
    with pytest.raises(ValueError, match="must be greater than 0"):
        transrate(*_data(18), epsilon=epsilon)


@pytest.mark.parametrize("name", [*SIX, "transrate"])
def test_classes_farther_apart_score_higher(name: str) -> None:
    apart, near, mixed = (SCORES[name](_target(19, gap=gap)) for gap in (2.0, 0.6, 0.0))
    assert apart > near > mixed


@pytest.mark.parametrize("name", sorted(set(SCORES) - {"leep"}))
def test_torch_tensors_score_as_numpy_arrays(name: str) -> None:
    target = _target(20)
    tensors = [torch.tensor(np.asarray(each)) for each in (target.features, target.labels)]
    tensor = Target(features=tensors[0], labels=tensors[1], patients=target.patients, seed=0)
    assert SCORES[name](tensor) == SCORES[name](target)


def test_a_source_without_a_head_has_no_leep() -> None:
    with pytest.raises(ValueError, match="no head"):
        SCORES["leep"](_target(21))


def test_a_source_with_a_head_is_scored_by_it() -> None:
    head = np.eye(4)[[2, 0, 2, 3]]
    labels = np.array([0, 1, 0, 2])
    target = Target(features=head, labels=labels, patients=np.arange(4), source_probabilities=head, seed=0)
    assert SCORES["leep"](target) == 0.0


GOOD = np.random.default_rng(0).normal(size=(30, 3))
CLASSES = np.arange(30) % 3


@pytest.mark.parametrize("score", [logme, h_score, transrate, partial(nleep, seed=0)])
@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (GOOD, CLASSES[:-1], "30 images and labels of shape"),
        (GOOD[:, :, None], CLASSES, "features have shape"),
        (np.where(GOOD[0, 0] == GOOD, np.nan, GOOD), CLASSES, "not finite"),
        (GOOD, CLASSES * 0, "all 30 images are of class 0"),
        (GOOD, CLASSES * 2, "no image of class 1 of 5"),
        (GOOD, CLASSES - 1, "there is -1"),
        (GOOD, CLASSES * 0.5, "needs labels 0, 1"),
    ],
)
def test_features_and_labels_that_do_not_fit_are_refused(
    score: Callable[..., float], features: np.ndarray, labels: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        score(features, labels)
