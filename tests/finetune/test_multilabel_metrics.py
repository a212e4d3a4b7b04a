"""Metrics of images with any number of labels, against scikit-learn called directly and closed forms."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from sweeper.finetune.metrics import score
from sweeper.metric import CLASS_METRICS, COUNTS, metrics_of


def _table(truth: np.ndarray, scores: np.ndarray) -> pd.DataFrame:
    labels = {f"label_{number}": each for number, each in enumerate(truth.T)}
    return pd.DataFrame(labels | {f"score_{number}": each for number, each in enumerate(scores.T)})


def _drawn(seed: int = 0, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    truth = (draw.random((200, classes)) < np.linspace(0.1, 0.6, classes)).astype(int)
    return truth, 1 / (1 + np.exp(-draw.normal(size=truth.shape) - 2 * truth + 1))


@pytest.mark.parametrize(
    ("name", "by_sklearn"),
    [
        ("auroc", lambda truth, scores: metrics.roc_auc_score(truth, scores, average="macro")),
        ("auroc_weighted", lambda truth, scores: metrics.roc_auc_score(truth, scores, average="weighted")),
        ("auroc_micro", lambda truth, scores: metrics.roc_auc_score(truth, scores, average="micro")),
        ("auprc", lambda truth, scores: metrics.average_precision_score(truth, scores, average="macro")),
        ("accuracy", lambda truth, scores: metrics.accuracy_score(truth, scores > 0.5)),
        ("precision_macro", lambda truth, scores: metrics.precision_score(truth, scores > 0.5, average="macro")),
        ("recall_macro", lambda truth, scores: metrics.recall_score(truth, scores > 0.5, average="macro")),
        ("f1_macro", lambda truth, scores: metrics.f1_score(truth, scores > 0.5, average="macro")),
        ("nll", lambda truth, scores: metrics.log_loss(truth.ravel(), scores.ravel())),
        ("brier", lambda truth, scores: metrics.brier_score_loss(truth.ravel(), scores.ravel())),
    ],
)
def test_a_multi_label_score_is_scikit_learns(name: str, by_sklearn: Callable) -> None:
    truth, scores = _drawn()
    assert score(_table(truth, scores), "multilabel")[name] == pytest.approx(by_sklearn(truth, scores), abs=1e-12)


def test_the_scores_have_exactly_the_names_of_the_task() -> None:
    names = [f"{name}_class_{number}" for number in range(2) for name in CLASS_METRICS]
    found = score(_table(*_drawn(classes=2)), "multilabel", by_class=True)
    assert list(found) == [*metrics_of("multilabel"), *COUNTS, *names]


def test_every_score_is_a_plain_number() -> None:
    assert {type(value) for value in score(_table(*_drawn()), "multilabel", by_class=True).values()} == {float}


def _with_gaps() -> tuple[np.ndarray, np.ndarray]:
    """Class 1 has no positive image, and class 3 no other."""
    truth, scores = _drawn(1)
    truth[:, 1], truth[:, 3] = 0, 1
    return truth, scores


def test_classes_without_positives_or_without_negatives_are_left_out_of_rankings() -> None:
    truth, scores = _with_gaps()
    ranked = [0, 2, 4]
    found = score(_table(truth, scores), "multilabel")
    assert found["auroc"] == pytest.approx(metrics.roc_auc_score(truth[:, ranked], scores[:, ranked]), abs=1e-12)
    expected = metrics.average_precision_score(truth[:, ranked], scores[:, ranked])
    assert found["auprc"] == pytest.approx(expected, abs=1e-12)


def test_both_kinds_are_counted() -> None:
    found = score(_table(*_with_gaps()), "multilabel")
    assert (found["classes_absent"], found["classes_unranked"]) == (1, 2)


def test_a_class_without_positives_is_left_out_of_means_over_classes() -> None:
    truth, scores = _with_gaps()
    present = [0, 2, 3, 4]
    expected = metrics.f1_score(truth[:, present], scores[:, present] > 0.5, average="macro")
    assert score(_table(truth, scores), "multilabel")["f1_macro"] == pytest.approx(expected, abs=1e-12)


def test_without_any_positive_only_what_needs_none_is_defined() -> None:
    truth, scores = _drawn(2)
    found = score(_table(0 * truth, scores), "multilabel")
    assert {name for name, value in found.items() if not math.isnan(value)} == {"accuracy", "nll", "brier", *COUNTS}


def test_every_label_of_an_image_must_be_right() -> None:
    truth = np.array([[1, 0], [1, 1], [0, 0]])
    assert score(_table(truth, np.array([[0.9, 0.1], [0.9, 0.4], [0.2, 0.3]])), "multilabel")["accuracy"] == 2 / 3


def test_a_score_of_one_half_predicts_no_label() -> None:
    assert score(_table(np.array([[0, 0]]), np.array([[0.5, 0.5]])), "multilabel")["accuracy"] == 1.0


def test_scores_need_not_sum_to_1_but_stay_in_range() -> None:
    truth, scores = _drawn()
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        score(_table(truth, scores + 0.5), "multilabel")


def test_labels_that_are_neither_0_nor_1_are_refused() -> None:
    truth, scores = _drawn()
    with pytest.raises(ValueError, match=r"label 2 .* neither 0 nor 1"):
        score(_table(2 * truth, scores), "multilabel")


def test_missing_labels_are_refused() -> None:
    truth, scores = _drawn()
    with pytest.raises(ValueError, match="labels of 4 classes and scores of 5"):
        score(_table(truth, scores).drop(columns="label_4"), "multilabel")
    with pytest.raises(ValueError, match="label_0"):
        score(_table(truth, scores).drop(columns="label_0"), "multilabel")


def _with_unknown() -> tuple[np.ndarray, np.ndarray]:
    """A third of the labels are not known."""
    truth, scores = _drawn(2)
    return np.where(np.random.default_rng(3).random(truth.shape) < 1 / 3, np.nan, truth), scores


@pytest.mark.parametrize(
    ("name", "by_sklearn"),
    [
        ("auroc", metrics.roc_auc_score),
        ("auprc", metrics.average_precision_score),
        ("precision_macro", lambda truth, scores: metrics.precision_score(truth, scores > 0.5)),
        ("recall_macro", lambda truth, scores: metrics.recall_score(truth, scores > 0.5)),
        ("f1_macro", lambda truth, scores: metrics.f1_score(truth, scores > 0.5)),
    ],
)
def test_each_class_is_judged_by_the_images_of_which_it_is_known(name: str, by_sklearn: Callable) -> None:
    truth, scores = _with_unknown()
    seen = ~np.isnan(truth)
    each = [by_sklearn(truth[rows, n].astype(int), scores[rows, n]) for n, rows in enumerate(seen.T)]
    assert score(_table(truth, scores), "multilabel")[name] == pytest.approx(np.mean(each), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "by_sklearn"),
    [
        ("auroc_micro", metrics.roc_auc_score),
        ("nll", metrics.log_loss),
        ("brier", metrics.brier_score_loss),
    ],
)
def test_all_labels_are_judged_together_by_those_that_are_known(name: str, by_sklearn: Callable) -> None:
    truth, scores = _with_unknown()
    seen = ~np.isnan(truth)
    expected = by_sklearn(truth[seen].astype(int), scores[seen])
    assert score(_table(truth, scores), "multilabel")[name] == pytest.approx(expected, abs=1e-12)


def test_an_image_is_predicted_right_when_all_that_is_known_of_it_is() -> None:
    truth = np.array([[1, np.nan], [0, 1], [np.nan, np.nan], [1, 0]])
    scores = np.array([[0.9, 0.9], [0.1, 0.2], [0.9, 0.9], [0.8, 0.1]])
    assert score(_table(truth, scores), "multilabel")["accuracy"] == 0.75


def test_a_class_of_which_nothing_is_known_is_left_out_and_counted() -> None:
    truth, scores = _drawn()
    without = score(_table(truth[:, :4], scores[:, :4]), "multilabel")
    found = score(_table(np.where(np.arange(5) == 4, np.nan, truth), scores), "multilabel", by_class=True)
    assert (found["classes_absent"], found["classes_unranked"]) == (1, 1)
    assert math.isnan(found["auroc_class_4"])
    assert {name: found[name] for name in METRICS_OF_CLASSES} == {name: without[name] for name in METRICS_OF_CLASSES}


METRICS_OF_CLASSES = ("auroc", "auprc", "auroc_weighted", "auprc_trapezoid", "f1_macro")


def test_labels_of_which_nothing_is_known_are_refused() -> None:
    truth, scores = _drawn()
    with pytest.raises(ValueError, match="no label of the predictions is known"):
        score(_table(np.full(truth.shape, np.nan), scores), "multilabel")
