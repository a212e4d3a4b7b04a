"""Areas under curves against scikit-learn called directly, closed forms and properties."""

import math
from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from sklearn import metrics

from sweeper.finetune.ranking import Counts, auroc, average_precision, count, one_vs_one, trapezoid


def _trapezoid_by_sklearn(truth: np.ndarray, scores: np.ndarray) -> float:
    precision, recall, _ = metrics.precision_recall_curve(truth, scores)
    return float(metrics.auc(recall, precision))


AREAS = {
    "auroc": (auroc, metrics.roc_auc_score),
    "average_precision": (average_precision, metrics.average_precision_score),
    "trapezoid": (trapezoid, _trapezoid_by_sklearn),
}
each_area = pytest.mark.parametrize(("area", "by_sklearn"), AREAS.values(), ids=AREAS)
Area = Callable[[Counts], float]


def _problem(seed: int, *, images: int = 300, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Truth and scores; with `levels` the scores have only so many distinct values."""
    draw = np.random.default_rng(seed)
    truth = np.append(draw.random(images - 2) < draw.uniform(0.02, 0.98), [True, False])
    scores = draw.normal(size=images) + truth
    if levels:
        scores = np.round(levels * (scores - scores.min()) / np.ptp(scores)) / levels
    return truth, scores


@pytest.mark.parametrize("levels", [None, 50, 3])
@pytest.mark.parametrize("seed", range(20))
@each_area
def test_an_area_is_scikit_learns_to_the_last_bit(
    area: Area, by_sklearn: Callable, seed: int, levels: int | None
) -> None:
    truth, scores = _problem(seed, levels=levels)
    assert area(count(truth, scores)) == by_sklearn(truth, scores)


@pytest.mark.parametrize("images", [2, 3, 4])
@each_area
def test_so_it_is_of_a_few_images(area: Area, by_sklearn: Callable, images: int) -> None:
    for seed in range(20):
        truth, scores = _problem(seed, images=images, levels=2)
        assert area(count(truth, scores)) == by_sklearn(truth, scores)


@pytest.mark.parametrize("levels", [None, 4])
def test_the_area_under_the_roc_curve_is_mann_whitneys_statistic(levels: int | None) -> None:
    truth, scores = _problem(1, levels=levels)
    pairs = truth.sum() * (~truth).sum()
    expected = mannwhitneyu(scores[truth], scores[~truth]).statistic / pairs
    assert auroc(count(truth, scores)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("area", [auroc, average_precision, trapezoid])
def test_a_perfect_ranking_has_area_1(area: Area) -> None:
    assert area(count(np.array([False, True, False, True]), np.array([0.1, 0.8, 0.2, 0.9]))) == 1.0


def test_equal_scores_are_a_fair_coin_and_a_blind_precision() -> None:
    counts = count(np.array([True, False, False, False]), np.full(4, 0.3))
    assert (auroc(counts), average_precision(counts)) == (0.5, 0.25)


def test_straight_lines_between_far_points_promise_more_than_the_steps_hold() -> None:
    # One threshold: precision falls in a line from 1 to 1/4 while recall rises from 0 to 1.
    assert trapezoid(count(np.array([True, False, False, False]), np.full(4, 0.3))) == (1 + 0.25) / 2


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("area", [auroc, average_precision, trapezoid])
def test_without_positives_or_negatives_there_is_no_area(area: Area, value: bool) -> None:
    assert math.isnan(area(count(np.full(5, value), np.arange(5.0))))


@pytest.mark.parametrize("transform", [np.exp, np.cbrt, lambda scores: 1e-3 * scores - 7])
@pytest.mark.parametrize("area", [auroc, average_precision, trapezoid])
def test_a_monotone_transformation_leaves_every_bit_of_an_area(area: Area, transform: Callable) -> None:
    truth, scores = _problem(5, levels=40)
    assert area(count(truth, transform(scores))) == area(count(truth, scores))


@pytest.mark.parametrize("area", [auroc, average_precision, trapezoid])
def test_the_order_of_the_images_leaves_every_bit_of_an_area(area: Area) -> None:
    truth, scores = _problem(6, levels=20)
    order = np.random.default_rng(0).permutation(len(truth))
    assert area(count(truth[order], scores[order])) == area(count(truth, scores))


def test_minus_zero_and_zero_are_one_score() -> None:
    assert auroc(count(np.array([True, False]), np.array([0.0, -0.0]))) == 0.5


def _classes(seed: int, *, classes: int, levels: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    labels = np.append(np.arange(classes), draw.integers(0, classes, 150))
    scores = np.exp(draw.normal(size=(len(labels), classes)) + np.eye(classes)[labels])
    if levels:
        scores = np.ceil(levels * scores / scores.max())
    return labels, scores / scores.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("levels", [0, 3])
@pytest.mark.parametrize("classes", [3, 4, 9])
def test_one_against_one_is_scikit_learns(classes: int, levels: int) -> None:
    labels, scores = _classes(classes, classes=classes, levels=levels)
    expected = metrics.roc_auc_score(labels, scores, multi_class="ovo", average="macro")
    assert one_vs_one(labels, scores) == pytest.approx(expected, abs=1e-12)


def test_one_against_one_is_hand_and_tills_mean_over_ordered_pairs() -> None:
    labels, scores = _classes(2, classes=4, levels=5)
    pairs = [
        mannwhitneyu(scores[labels == one, one], scores[labels == other, one]).statistic
        / ((labels == one).sum() * (labels == other).sum())
        for one, other in permutations(range(4), 2)
    ]
    assert one_vs_one(labels, scores) == pytest.approx(np.mean(pairs), abs=1e-12)


def test_a_pair_with_an_absent_class_is_left_out() -> None:
    labels, scores = _classes(3, classes=4)
    seen = labels != 2
    labels, scores = labels[seen], scores[seen]
    pairs = [
        metrics.roc_auc_score(labels[both] == one, scores[both, one])
        for one, other in permutations([0, 1, 3], 2)
        for both in [(labels == one) | (labels == other)]
    ]
    assert one_vs_one(labels, scores) == pytest.approx(np.mean(pairs), abs=1e-12)


def test_one_class_has_no_pair() -> None:
    assert math.isnan(one_vs_one(np.full(4, 2), np.full((4, 3), 1 / 3)))


def test_more_images_of_a_class_leave_one_against_one() -> None:
    labels, scores = _classes(4, classes=3)
    rows = np.append(np.arange(len(labels)), np.repeat(np.flatnonzero(labels == 1), 5))
    assert one_vs_one(labels[rows], scores[rows]) == pytest.approx(one_vs_one(labels, scores), abs=1e-12)
