"""k-NN votes on any number of labels, against scikit-learn's multi-output classifier and votes counted by hand."""

from typing import Any

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from sweeper.probes.knn import knn_scores


def _normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


BANK, QUERIES = _normal(120, 9), _normal(33, 9, seed=1)
LABELS = (np.random.default_rng(2).random((120, 4)) < (0.1, 0.3, 0.5, 0.9)).astype(np.float32)
SETTINGS = {"k": 20, "temperature": 0.1}


@pytest.mark.parametrize("k", [1, 20, 120])
def test_scores_are_scikit_learns_of_each_class(k: int) -> None:
    settings: dict[str, Any] = {"metric": "cosine", "weights": lambda far: np.exp((1 - far) / 0.1)}
    fitted = KNeighborsClassifier(n_neighbors=k, algorithm="brute", **settings).fit(BANK, LABELS)
    expected = np.stack([each[:, 1] for each in fitted.predict_proba(QUERIES)], axis=1)
    found = knn_scores(BANK, LABELS, QUERIES, k=k, temperature=0.1, classes=4)
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_one_label_an_image_gives_the_scores_of_class_numbers() -> None:
    numbers = np.arange(120) % 4
    matrix = np.eye(4, dtype=np.float32)[numbers]
    found, expected = (knn_scores(BANK, each, QUERIES, **SETTINGS, classes=4) for each in (matrix, numbers))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_who_does_not_know_abstains() -> None:
    told = LABELS.copy()
    told[::3, 1] = np.nan
    known = ~np.isnan(told[:, 1])
    found = knn_scores(BANK, told, QUERIES, k=120, temperature=0.1, classes=4)
    expected = knn_scores(BANK[known], LABELS[known], QUERIES, k=120, temperature=0.1, classes=4)
    np.testing.assert_allclose(found[:, 1], expected[:, 1], atol=1e-12)


def test_where_all_neighbours_abstain_the_score_is_the_banks_share() -> None:
    bank = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    labels = np.array([[np.nan, 1], [1, 0], [0, 0]], dtype=np.float32)
    found = knn_scores(bank, labels, np.array([[1.0, 0.1]]), k=1, temperature=0.1, classes=2)
    np.testing.assert_array_equal(found, [[0.5, 1.0]])


def test_a_query_without_direction_gets_the_shares_of_the_bank() -> None:
    found = knn_scores(BANK, LABELS, np.zeros((1, 9)), **SETTINGS, classes=4)
    np.testing.assert_allclose(found, LABELS.mean(axis=0, keepdims=True), atol=1e-7)


def test_a_class_of_which_the_bank_tells_nothing_is_refused() -> None:
    told = LABELS.copy()
    told[:, 2] = np.nan
    with pytest.raises(ValueError, match="no bank image tells whether it is of class 2"):
        knn_scores(BANK, told, QUERIES, **SETTINGS, classes=4)


def test_another_value_is_refused() -> None:
    with pytest.raises(ValueError, match="something else than 1, 0 and NaN"):
        knn_scores(BANK, LABELS * 2, QUERIES, **SETTINGS, classes=4)


def test_labels_of_another_number_of_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"120 images but labels of shape \(120, 4\)"):
        knn_scores(BANK, LABELS, QUERIES, **SETTINGS, classes=5)
