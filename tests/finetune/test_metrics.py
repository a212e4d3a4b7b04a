"""Metrics of tasks in which an image has one class, against scikit-learn called directly, closed forms and properties.

Classes that a part lacks and multi-label tasks have files of their own.
"""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from predicted import binary_table, random_table, scores_of, table_of, task_of_classes
from sklearn import metrics

from sweeper.finetune.metrics import BINS, METRICS, score
from sweeper.metric import CLASS_METRICS, COUNTS


@pytest.mark.parametrize("classes", [2, 3])
def test_the_scores_have_exactly_the_names_of_the_tables(classes: int) -> None:
    assert list(score(random_table(classes), task_of_classes(classes))) == [*METRICS, *COUNTS]


@pytest.mark.parametrize("classes", [2, 3])
def test_every_score_is_a_plain_number(classes: int) -> None:
    found = score(random_table(classes), task_of_classes(classes), by_class=True)
    assert {type(value) for value in found.values()} == {float}


def test_scores_by_class_are_added_for_every_class() -> None:
    names = [f"{name}_class_{number}" for number in range(3) for name in CLASS_METRICS]
    assert list(score(random_table(3), "multiclass", by_class=True)) == [*METRICS, *COUNTS, *names]


def test_binary_auroc_is_scikit_learns_for_class_1() -> None:
    table = random_table(2)
    expected = metrics.roc_auc_score(table["label"], table["score_1"])
    assert score(table, "binary")["auroc"] == pytest.approx(expected, abs=1e-12)


def test_binary_auprc_is_scikit_learns_average_precision_of_class_1() -> None:
    table = random_table(2)
    expected = metrics.average_precision_score(table["label"], table["score_1"])
    assert score(table, "binary")["auprc"] == pytest.approx(expected, abs=1e-12)


def test_multiclass_auprc_is_the_mean_of_the_classes_average_precision() -> None:
    table = random_table(4)
    each = [metrics.average_precision_score(table["label"] == c, table[f"score_{c}"]) for c in range(4)]
    assert score(table, "multiclass")["auprc"] == pytest.approx(np.mean(each), abs=1e-12)


@pytest.mark.parametrize("images", [12, 300])
@pytest.mark.parametrize("classes", [2, 3, 6])
@pytest.mark.parametrize(
    ("name", "by_sklearn"),
    [
        ("accuracy", metrics.accuracy_score),
        ("balanced_accuracy", metrics.balanced_accuracy_score),
        ("precision_macro", lambda *given: metrics.precision_score(*given, average="macro", zero_division=0)),
        ("recall_macro", lambda *given: metrics.recall_score(*given, average="macro")),
        ("f1_macro", lambda *given: metrics.f1_score(*given, average="macro")),
        ("kappa", metrics.cohen_kappa_score),
        ("quadratic_kappa", lambda *given: metrics.cohen_kappa_score(*given, weights="quadratic")),
    ],
)
def test_a_score_of_the_predicted_class_is_scikit_learns(
    name: str, by_sklearn: Callable, classes: int, images: int
) -> None:
    table = random_table(classes, images=images, seed=classes)
    expected = by_sklearn(table["label"], scores_of(table).argmax(axis=1))
    assert score(table, task_of_classes(classes))[name] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "average"), [("auroc", "macro"), ("auroc_weighted", "weighted"), ("auroc_micro", "micro")]
)
@pytest.mark.parametrize("classes", [3, 7])
def test_an_average_of_the_auroc_is_scikit_learns(classes: int, name: str, average: str) -> None:
    table = random_table(classes, seed=classes)
    expected = metrics.roc_auc_score(table["label"], scores_of(table), multi_class="ovr", average=average)
    assert score(table, "multiclass")[name] == pytest.approx(expected, abs=1e-12)


def test_one_against_one_is_scikit_learns_macro_mean() -> None:
    table = random_table(5, seed=8)
    expected = metrics.roc_auc_score(table["label"], scores_of(table), multi_class="ovo", average="macro")
    assert score(table, "multiclass")["auroc_ovo"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["auroc_ovo", "auroc_weighted"])
def test_every_average_of_two_classes_is_the_auroc_of_class_1(name: str) -> None:
    table = random_table(2, seed=9)
    assert score(table, "binary")[name] == metrics.roc_auc_score(table["label"], table["score_1"])


def test_the_micro_average_of_two_classes_ranks_both_columns() -> None:
    table = random_table(2, seed=9)
    truth = np.eye(2)[table["label"]]
    expected = metrics.roc_auc_score(truth.ravel(), scores_of(table).ravel())
    assert score(table, "binary")["auroc_micro"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_trapezoid_is_scikit_learns_auc_of_recall_and_precision(classes: int) -> None:
    table = random_table(classes, seed=10)
    areas = []
    for number in range(classes):
        precision, recall, _ = metrics.precision_recall_curve(table["label"] == number, table[f"score_{number}"])
        areas.append(metrics.auc(recall, precision))
    expected = areas[1] if classes == 2 else np.mean(areas)
    assert score(table, task_of_classes(classes))["auprc_trapezoid"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_scores_of_a_class_are_scikit_learns_against_all_others(classes: int) -> None:
    table = random_table(classes, seed=11)
    found = score(table, task_of_classes(classes), by_class=True)
    for number in range(classes):
        truth, scores = table["label"] == number, table[f"score_{number}"]
        precision, recall, _ = metrics.precision_recall_curve(truth, scores)
        assert found[f"auroc_class_{number}"] == pytest.approx(metrics.roc_auc_score(truth, scores), abs=1e-12)
        expected = metrics.average_precision_score(truth, scores)
        assert found[f"auprc_class_{number}"] == pytest.approx(expected, abs=1e-12)
        assert found[f"auprc_trapezoid_class_{number}"] == pytest.approx(metrics.auc(recall, precision), abs=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 6])
@pytest.mark.parametrize(("name", "by_sklearn"), [("nll", metrics.log_loss), ("brier", metrics.brier_score_loss)])
def test_a_score_of_the_probabilities_is_scikit_learns(name: str, by_sklearn: Callable, classes: int) -> None:
    table = random_table(classes, seed=classes)
    scores = table["score_1"] if classes == 2 else scores_of(table)
    assert score(table, task_of_classes(classes))[name] == pytest.approx(by_sklearn(table["label"], scores), abs=1e-12)


@pytest.mark.parametrize("classes", [2, 5])
def test_the_calibration_error_is_its_definition_bin_by_bin(classes: int) -> None:
    table = random_table(classes, seed=12)
    confidence, right = scores_of(table).max(axis=1), scores_of(table).argmax(axis=1) == table["label"]
    expected = 0.0
    for number in range(BINS):
        own = (confidence > number / BINS) & (confidence <= (number + 1) / BINS)
        if own.any():
            expected += own.mean() * abs(right[own].mean() - confidence[own].mean())
    assert score(table, task_of_classes(classes))["ece"] == pytest.approx(expected, abs=1e-12)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    # 0.6 = 9/15: all four are in one bin, where 3 of 4 are right; 0.75 - (3 x 0.6 + 0.59) / 4.
    table = binary_table([1, 1, 1, 0], [0.6, 0.6, 0.6, 0.59])
    assert score(table, "binary")["ece"] == pytest.approx(0.75 - (3 * 0.6 + 0.59) / 4)


def test_confidences_that_come_true_are_calibrated() -> None:
    table = binary_table([1, 1, 1, 0, 1, 0], [0.75] * 4 + [0.5] * 2)
    assert score(table.assign(label=[1, 1, 1, 0, 0, 1]), "binary")["ece"] == 0.0


def test_a_blind_prediction_has_no_kappa() -> None:
    found = score(binary_table([0, 0, 1, 1], [0.9, 0.1, 0.9, 0.1]), "binary")
    assert (found["kappa"], found["quadratic_kappa"]) == (0.0, 0.0)


def test_quadratic_kappa_forgives_a_neighbour_and_kappa_does_not() -> None:
    near = table_of(np.array([0, 1, 2, 3]), np.eye(4)[[0, 1, 2, 2]])
    far = table_of(np.array([0, 1, 2, 3]), np.eye(4)[[0, 1, 2, 0]])
    by_near, by_far = score(near, "multiclass"), score(far, "multiclass")
    assert by_near["kappa"] == by_far["kappa"]
    assert by_near["quadratic_kappa"] > by_far["quadratic_kappa"]


def _ranks(places: list[int]) -> pd.DataFrame:
    """1000 images of which 10 are positive, those at these places from the highest score."""
    labels = np.isin(np.arange(1, 1001), places).astype(int)
    return binary_table(labels.tolist(), np.linspace(0.99, 0.01, 1000).tolist())


TOP_12 = [1, 2, 3, 5, 6, 7, 8, 10, 11, 12]
TOP_30 = [1, 4, 7, 11, 14, 17, 20, 24, 27, 30]


@pytest.mark.parametrize(("places", "wrong"), [(TOP_12, 10), (TOP_30, 100)])
def test_10_positives_near_the_top_of_1000_have_nearly_the_same_auroc(places: list[int], wrong: int) -> None:
    # Every negative above a positive is one pair of 9,900 in wrong order.
    assert score(_ranks(places), "binary")["auroc"] == pytest.approx(1 - wrong / 9900, abs=1e-12)


@pytest.mark.parametrize("places", [TOP_12, TOP_30])
def test_their_average_precision_is_the_mean_precision_at_each_positive(places: list[int]) -> None:
    expected = np.mean([found / place for found, place in enumerate(places, start=1)])
    assert score(_ranks(places), "binary")["auprc"] == pytest.approx(expected, abs=1e-12)


def test_precision_and_recall_tell_apart_what_the_auroc_does_not() -> None:
    first, second = (score(_ranks(places), "binary") for places in (TOP_12, TOP_30))
    assert first["auroc"] - second["auroc"] < 0.01
    assert first["auprc"] - second["auprc"] > 0.4
    assert first["auprc_trapezoid"] - second["auprc_trapezoid"] > 0.4


def test_auroc_counts_ordered_pairs_of_a_positive_and_a_negative() -> None:
    # Positives at .9, .4 and negatives at .6, .1: three of the four pairs are in order.
    assert score(binary_table([1, 0, 1, 0], [0.9, 0.6, 0.4, 0.1]), "binary")["auroc"] == 0.75


def test_a_tie_between_a_positive_and_a_negative_counts_one_half() -> None:
    assert score(binary_table([1, 0], [0.3, 0.3]), "binary")["auroc"] == 0.5


def test_average_precision_sums_precision_times_gain_in_recall() -> None:
    # Ranks 1 and 3 are positive: 1/1 x 1/2 + 2/3 x 1/2; the trapezoid under the curve would be smaller.
    assert score(binary_table([1, 0, 1, 0], [0.9, 0.6, 0.4, 0.1]), "binary")["auprc"] == pytest.approx(5 / 6)


def test_average_precision_of_equal_scores_is_the_share_of_positives() -> None:
    assert score(binary_table([1, 0, 0, 0], [0.5, 0.5, 0.5, 0.5]), "binary")["auprc"] == 0.25


def test_perfect_scores_reach_the_best_value_of_every_metric() -> None:
    found = score(table_of(np.array([0, 1, 2, 2]), np.eye(3)[[0, 1, 2, 2]]), "multiclass")
    assert found == {name: float(info.higher) for name, info in METRICS.items()} | dict.fromkeys(COUNTS, 0.0)


def test_uniform_scores_of_k_classes_have_the_likelihood_of_a_fair_die() -> None:
    table = table_of(np.arange(5), np.full((5, 5), 0.2))
    assert score(table, "multiclass")["nll"] == pytest.approx(math.log(5))


def test_a_certain_mistake_costs_the_documented_floor_and_not_infinity() -> None:
    found = score(binary_table([0, 1], [0.0, 0.0]), "binary")
    assert found["nll"] == pytest.approx(52 * math.log(2) / 2)


def test_a_tie_of_classes_is_decided_for_the_first() -> None:
    assert score(binary_table([0, 1], [0.5, 0.5]), "binary")["accuracy"] == 0.5


def test_accuracies_differ_where_classes_differ_in_size() -> None:
    found = score(binary_table([0, 0, 0, 1], [0.1, 0.2, 0.3, 0.4]), "binary")
    assert (found["accuracy"], found["balanced_accuracy"]) == (0.75, 0.5)


def test_a_class_that_is_never_predicted_adds_an_f1_and_a_precision_of_zero() -> None:
    found = score(binary_table([0, 0, 0, 1], [0.1, 0.2, 0.3, 0.4]), "binary")
    assert found["f1_macro"] == pytest.approx((6 / 7) / 2)
    assert found["precision_macro"] == pytest.approx((3 / 4) / 2)


@pytest.mark.parametrize("name", ["auroc", "auprc", "auprc_trapezoid", "auroc_ovo", "auroc_weighted"])
def test_ranking_metrics_do_not_change_under_a_monotone_transformation(name: str) -> None:
    table = random_table(2, seed=3)
    stretched = binary_table(table["label"].to_list(), (table["score_1"] ** 3).to_list())
    assert score(stretched, "binary")[name] == pytest.approx(score(table, "binary")[name], abs=1e-12)


def test_exchanging_the_two_classes_leaves_the_auroc() -> None:
    table = random_table(2, seed=4)
    swapped = table_of(1 - table["label"].to_numpy(), scores_of(table)[:, ::-1])
    assert score(swapped, "binary")["auroc"] == pytest.approx(score(table, "binary")["auroc"], abs=1e-12)


def test_the_order_of_rows_does_not_matter() -> None:
    table = random_table(3, seed=5)
    assert score(table.sample(frac=1, random_state=0), "multiclass") == pytest.approx(score(table, "multiclass"))


def test_the_order_of_columns_does_not_matter() -> None:
    table = random_table(12, seed=6)
    assert score(table[sorted(table.columns, reverse=True)], "multiclass") == score(table, "multiclass")


def test_other_columns_are_not_looked_at() -> None:
    table = random_table(3)
    assert score(table.assign(image="a.png", patient=7, part="test"), "multiclass") == score(table, "multiclass")


def test_probabilities_in_single_precision_are_accepted() -> None:
    table = random_table(3)
    single = table.astype({f"score_{number}": np.float32 for number in range(3)})
    assert score(single, "multiclass") == pytest.approx(score(table, "multiclass"), abs=1e-6)
