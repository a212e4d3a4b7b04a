"""Tables of predictions that cannot be scored are refused, with the row, the column or the label that is wrong."""

import numpy as np
import pytest
from predicted import random_table, table_of

from sweeper.finetune.metrics import score


def test_a_table_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        score(random_table(2).iloc[:0], "binary")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_refused_with_its_row(value: float) -> None:
    table = random_table(2)
    table.loc[17, "score_1"] = value
    with pytest.raises(ValueError, match=r"row 17 .* not finite"):
        score(table, "binary")


def test_rows_that_do_not_sum_to_1_are_refused() -> None:
    with pytest.raises(ValueError, match=r"row 0 .* do not sum to 1"):
        score(table_of(np.array([0, 1]), np.array([[0.5, 0.499], [0.5, 0.5]])), "binary")


def test_rows_that_sum_to_1_but_for_rounding_are_accepted() -> None:
    assert score(table_of(np.array([0, 1]), np.array([[0.6, 0.40005], [0.4, 0.6]])), "binary")["accuracy"] == 1.0


def test_logits_are_refused() -> None:
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        score(table_of(np.array([0, 1]), np.array([[2.0, -1.0], [-1.0, 2.0]])), "binary")


def test_a_label_without_a_score_is_refused() -> None:
    with pytest.raises(ValueError, match=r"label 2 .* 0\.\.1"):
        score(table_of(np.array([0, 2]), np.array([[0.5, 0.5], [0.5, 0.5]])), "binary")


def test_missing_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="no column 'label'"):
        score(random_table(2).drop(columns="label"), "binary")


def test_a_gap_in_the_score_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="score_0"):
        score(random_table(3).drop(columns="score_1"), "multiclass")


def test_a_binary_task_with_three_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="2 classes, the predictions have 3"):
        score(random_table(3), "binary")


def test_an_unknown_task_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'regression'.*binary, multiclass, multilabel"):
        score(random_table(2), "regression")
