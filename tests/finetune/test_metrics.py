"""Metrics against scikit-learn called directly, closed forms and properties."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from sweeper.finetune.metrics import METRICS, score


def _table(labels: np.ndarray, scores: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"label": labels} | {f"score_{number}": each for number, each in enumerate(scores.T)})


def _random_table(classes: int, *, images: int = 200, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), generator.integers(0, classes, images - classes)])
    logits = generator.normal(size=(images, classes)) + 1.5 * np.eye(classes)[labels]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return _table(labels, scores)


def _binary(labels: list[int], positive: list[float]) -> pd.DataFrame:
    return _table(np.array(labels), np.array([[1 - p, p] for p in positive]))


def _scores(table: pd.DataFrame) -> np.ndarray:
    return table.filter(like="score_").to_numpy()


def test_the_scores_have_exactly_the_names_of_the_table() -> None:
    assert list(score(_random_table(3), "multiclass")) == list(METRICS)


def test_only_the_likelihood_is_better_when_lower() -> None:
    assert [name for name, higher in METRICS.items() if not higher] == ["nll"]


def test_binary_auroc_is_scikit_learns_for_class_1() -> None:
    table = _random_table(2)
    expected = metrics.roc_auc_score(table["label"], table["score_1"])
    assert score(table, "binary")["auroc"] == pytest.approx(expected, abs=1e-12)


def test_multiclass_auroc_is_scikit_learns_macro_one_vs_rest() -> None:
    table = _random_table(5)
    expected = metrics.roc_auc_score(table["label"], _scores(table), multi_class="ovr", average="macro")
    assert score(table, "multiclass")["auroc"] == pytest.approx(expected, abs=1e-12)


def test_binary_auprc_is_scikit_learns_average_precision_of_class_1() -> None:
    table = _random_table(2)
    expected = metrics.average_precision_score(table["label"], table["score_1"])
    assert score(table, "binary")["auprc"] == pytest.approx(expected, abs=1e-12)


def test_multiclass_auprc_is_the_mean_of_the_classes_average_precision() -> None:
    table = _random_table(4)
    each = [metrics.average_precision_score(table["label"] == c, table[f"score_{c}"]) for c in range(4)]
    assert score(table, "multiclass")["auprc"] == pytest.approx(np.mean(each), abs=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_the_scores_of_the_predicted_class_are_scikit_learns(classes: int) -> None:
    table = _random_table(classes, seed=classes)
    labels, predicted = table["label"], _scores(table).argmax(axis=1)
    found = score(table, "binary" if classes == 2 else "multiclass")
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted), abs=1e-12)
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, predicted), abs=1e-12)
    assert found["f1_macro"] == pytest.approx(metrics.f1_score(labels, predicted, average="macro"), abs=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_the_likelihood_is_scikit_learns_log_loss(classes: int) -> None:
    table = _random_table(classes, seed=classes)
    expected = metrics.log_loss(table["label"], _scores(table))
    assert score(table, "binary" if classes == 2 else "multiclass")["nll"] == pytest.approx(expected, abs=1e-12)


def test_auroc_counts_ordered_pairs_of_a_positive_and_a_negative() -> None:
    # Positives at .9, .4 and negatives at .6, .1: three of the four pairs are in order.
    assert score(_binary([1, 0, 1, 0], [0.9, 0.6, 0.4, 0.1]), "binary")["auroc"] == 0.75


def test_a_tie_between_a_positive_and_a_negative_counts_one_half() -> None:
    assert score(_binary([1, 0], [0.3, 0.3]), "binary")["auroc"] == 0.5


def test_average_precision_sums_precision_times_gain_in_recall() -> None:
    # Ranks 1 and 3 are positive: 1/1 x 1/2 + 2/3 x 1/2; the trapezoid under the curve would be smaller.
    assert score(_binary([1, 0, 1, 0], [0.9, 0.6, 0.4, 0.1]), "binary")["auprc"] == pytest.approx(5 / 6)


def test_average_precision_of_equal_scores_is_the_share_of_positives() -> None:
    assert score(_binary([1, 0, 0, 0], [0.5, 0.5, 0.5, 0.5]), "binary")["auprc"] == 0.25


def test_perfect_scores_reach_the_best_value_of_every_metric() -> None:
    found = score(_table(np.array([0, 1, 2, 2]), np.eye(3)[[0, 1, 2, 2]]), "multiclass")
    assert found == {name: 1.0 if higher else 0.0 for name, higher in METRICS.items()}


def test_uniform_scores_of_k_classes_have_the_likelihood_of_a_fair_die() -> None:
    table = _table(np.arange(5), np.full((5, 5), 0.2))
    assert score(table, "multiclass")["nll"] == pytest.approx(math.log(5))


def test_a_certain_mistake_costs_the_documented_floor_and_not_infinity() -> None:
    found = score(_binary([0, 1], [0.0, 0.0]), "binary")
    assert found["nll"] == pytest.approx(52 * math.log(2) / 2)


def test_a_tie_of_classes_is_decided_for_the_first() -> None:
    assert score(_binary([0, 1], [0.5, 0.5]), "binary")["accuracy"] == 0.5


def test_accuracies_differ_where_classes_differ_in_size() -> None:
    found = score(_binary([0, 0, 0, 1], [0.1, 0.2, 0.3, 0.4]), "binary")
    assert (found["accuracy"], found["balanced_accuracy"]) == (0.75, 0.5)


def test_a_class_that_is_never_predicted_adds_an_f1_of_zero() -> None:
    found = score(_binary([0, 0, 0, 1], [0.1, 0.2, 0.3, 0.4]), "binary")
    assert found["f1_macro"] == pytest.approx((6 / 7) / 2)


@pytest.mark.parametrize("name", ["auroc", "auprc"])
def test_ranking_metrics_do_not_change_under_a_monotone_transformation(name: str) -> None:
    table = _random_table(2, seed=3)
    stretched = _binary(table["label"].to_list(), (table["score_1"] ** 3).to_list())
    assert score(stretched, "binary")[name] == pytest.approx(score(table, "binary")[name], abs=1e-12)


def test_exchanging_the_two_classes_leaves_the_auroc() -> None:
    table = _random_table(2, seed=4)
    swapped = _table(1 - table["label"].to_numpy(), _scores(table)[:, ::-1])
    assert score(swapped, "binary")["auroc"] == pytest.approx(score(table, "binary")["auroc"], abs=1e-12)


def test_the_order_of_rows_does_not_matter() -> None:
    table = _random_table(3, seed=5)
    assert score(table.sample(frac=1, random_state=0), "multiclass") == pytest.approx(score(table, "multiclass"))


def test_the_order_of_columns_does_not_matter() -> None:
    table = _random_table(12, seed=6)
    assert score(table[sorted(table.columns, reverse=True)], "multiclass") == score(table, "multiclass")


def test_other_columns_are_not_looked_at() -> None:
    table = _random_table(3)
    assert score(table.assign(image="a.png", patient=7, part="test"), "multiclass") == score(table, "multiclass")


def test_probabilities_in_single_precision_are_accepted() -> None:
    table = _random_table(3)
    single = table.astype({f"score_{number}": np.float32 for number in range(3)})
    assert score(single, "multiclass") == pytest.approx(score(table, "multiclass"), abs=1e-6)


def test_an_absent_class_is_named() -> None:
    table = _random_table(3)
    with pytest.raises(ValueError, match="class 1 has no image"):
        score(table[table["label"] != 1], "multiclass")


def test_a_table_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="class 0 has no image"):
        score(_random_table(2).iloc[:0], "binary")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_refused_with_its_row(value: float) -> None:
    table = _random_table(2)
    table.loc[17, "score_1"] = value
    with pytest.raises(ValueError, match=r"row 17 .* not finite"):
        score(table, "binary")


def test_rows_that_do_not_sum_to_1_are_refused() -> None:
    with pytest.raises(ValueError, match=r"row 0 .* do not sum to 1"):
        score(_table(np.array([0, 1]), np.array([[0.5, 0.499], [0.5, 0.5]])), "binary")


def test_rows_that_sum_to_1_but_for_rounding_are_accepted() -> None:
    assert score(_table(np.array([0, 1]), np.array([[0.6, 0.40005], [0.4, 0.6]])), "binary")["accuracy"] == 1.0


def test_logits_are_refused() -> None:
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        score(_table(np.array([0, 1]), np.array([[2.0, -1.0], [-1.0, 2.0]])), "binary")


def test_a_label_without_a_score_is_refused() -> None:
    with pytest.raises(ValueError, match=r"label 2 .* 0\.\.1"):
        score(_table(np.array([0, 2]), np.array([[0.5, 0.5], [0.5, 0.5]])), "binary")


def test_missing_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="no column 'label'"):
        score(_random_table(2).drop(columns="label"), "binary")


def test_a_gap_in_the_score_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="score_0"):
        score(_random_table(3).drop(columns="score_1"), "multiclass")


def test_a_binary_task_with_three_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="2 classes, the predictions have 3"):
        score(_random_table(3), "binary")


def test_an_unknown_task_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'multilabel'.*binary, multiclass"):
        score(_random_table(2), "multilabel")
