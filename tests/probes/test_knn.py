"""Weighted cosine k-NN against scikit-learn's classifier and against votes counted by hand."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from sweeper.probes.knn import knn_scores, knn_scores_of_pieces


def _normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def _sklearn_scores(
    bank: np.ndarray, labels: np.ndarray, queries: np.ndarray, *, k: int, temperature: float
) -> np.ndarray:
    settings: dict[str, Any] = {"metric": "cosine", "weights": lambda far: np.exp((1 - far) / temperature)}
    classifier = KNeighborsClassifier(n_neighbors=k, algorithm="brute", **settings)
    return np.asarray(classifier.fit(bank, labels).predict_proba(queries))


@pytest.mark.parametrize("k", [1, 3, 20, 120])
@pytest.mark.parametrize("temperature", [0.07, 0.1, 5.0])
def test_scores_are_scikit_learns_with_the_same_weights(k: int, temperature: float) -> None:
    bank, queries, labels = _normal(120, 9), _normal(33, 9, seed=1), np.arange(120) % 4
    found = knn_scores(bank, labels, queries, k=k, temperature=temperature, classes=4)
    np.testing.assert_allclose(found, _sklearn_scores(bank, labels, queries, k=k, temperature=temperature), atol=1e-10)


def test_votes_weigh_exp_of_similarity_over_temperature() -> None:
    bank = np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    # Similarities to the query are 0.6, 0.8 and -0.6; the third is not among the nearest two.
    found = knn_scores(bank, np.array([0, 1, 1]), np.array([[3.0, 4.0]]), k=2, temperature=0.5, classes=2)
    first, second = math.exp(0.6 / 0.5), math.exp(0.8 / 0.5)
    np.testing.assert_allclose(found, [[first / (first + second), second / (first + second)]], rtol=1e-12)


def test_one_neighbour_decides_alone() -> None:
    found = knn_scores(np.eye(3), np.array([2, 0, 1]), np.eye(3), k=1, temperature=0.1, classes=3)
    np.testing.assert_array_equal(found, np.eye(3)[[2, 0, 1]])


def test_each_row_sums_to_one() -> None:
    found = knn_scores(_normal(50, 4), np.arange(50) % 5, _normal(20, 4, seed=1), k=7, temperature=0.1, classes=5)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-12)


def test_the_length_of_a_vector_does_not_matter() -> None:
    bank, queries, labels = _normal(40, 6), _normal(10, 6, seed=1), np.arange(40) % 3
    longer = bank * np.linspace(0.01, 100, 40)[:, None]
    plain, scaled = (knn_scores(each, labels, queries, k=5, temperature=0.1, classes=3) for each in (bank, longer))
    np.testing.assert_allclose(scaled, plain, atol=1e-10)


def test_more_neighbours_than_the_bank_has_use_all_of_it() -> None:
    bank, queries, labels = _normal(40, 6), _normal(10, 6, seed=1), np.arange(40) % 3
    all_of_it, more = (knn_scores(bank, labels, queries, k=k, temperature=0.1, classes=3) for k in (40, 200))
    np.testing.assert_array_equal(more, all_of_it)


def test_a_high_temperature_and_all_neighbours_give_the_shares_of_the_bank() -> None:
    found = knn_scores(_normal(8, 3), np.array([0] * 6 + [1] * 2), _normal(4, 3), k=8, temperature=1e9, classes=2)
    np.testing.assert_allclose(found, [[0.75, 0.25]] * 4, rtol=1e-6)


def test_a_very_low_temperature_gives_the_nearest_image_and_does_not_overflow() -> None:
    bank, queries, labels = _normal(40, 6), _normal(10, 6, seed=1), np.arange(40) % 3
    nearest = knn_scores(bank, labels, queries, k=1, temperature=1.0, classes=3)
    np.testing.assert_allclose(knn_scores(bank, labels, queries, k=9, temperature=1e-6, classes=3), nearest, atol=1e-12)


def test_a_class_without_bank_images_gets_no_votes() -> None:
    found = knn_scores(_normal(9, 3), np.array([0, 2, 3] * 3), _normal(5, 3), k=4, temperature=0.1, classes=5)
    assert (found[:, [1, 4]] == 0).all()


def test_queries_taken_in_chunks_get_the_same_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    bank, queries, labels = _normal(40, 6), _normal(11, 6, seed=1), np.arange(40) % 3
    whole = knn_scores(bank, labels, queries, k=5, temperature=0.1, classes=3)
    monkeypatch.setattr("sweeper.probes.knn.SIMILARITIES", 120)
    chunked = knn_scores(bank, labels, queries, k=5, temperature=0.1, classes=3)
    np.testing.assert_allclose(chunked, whole, atol=1e-12)


@pytest.mark.parametrize("cuts", [[3, 40], [0, 1, 7, 40, 120], [119]])
@pytest.mark.parametrize("k", [1, 5, 60, 500])
def test_a_bank_in_pieces_has_the_votes_of_scikit_learn_too(k: int, cuts: list[int]) -> None:
    bank, queries, labels = _normal(120, 9), _normal(33, 9, seed=1), np.arange(120) % 4
    queries[4] = 0.0
    found = knn_scores_of_pieces(lambda: iter(np.split(bank, cuts)), labels, queries, k=k, temperature=0.1, classes=4)
    expected = _sklearn_scores(bank, labels, np.delete(queries, 4, axis=0), k=min(k, 120), temperature=0.1)
    np.testing.assert_allclose(np.delete(found, 4, axis=0), expected, atol=1e-10)
    np.testing.assert_allclose(found[4], 0.25)


def test_queries_taken_in_chunks_see_all_pieces_of_the_bank(monkeypatch: pytest.MonkeyPatch) -> None:
    bank, queries, labels = _normal(40, 6), _normal(11, 6, seed=1), np.arange(40) % 3
    settings = dict(k=9, temperature=0.1, classes=3)
    whole = knn_scores(bank, labels, queries, **settings)
    monkeypatch.setattr("sweeper.probes.knn.SIMILARITIES", 30)  # 3 queries at a time
    found = knn_scores_of_pieces(lambda: iter(np.split(bank, [7, 30])), labels, queries, **settings)
    np.testing.assert_allclose(found, whole, atol=1e-12)


def test_a_piece_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="bank has 2 features an image, the queries have 3"):
        knn_scores_of_pieces(
            lambda: iter([np.eye(3), np.eye(2)]), np.arange(5), np.eye(3), k=1, temperature=0.1, classes=5
        )


def test_no_queries_give_no_scores() -> None:
    found = knn_scores(np.eye(3), np.arange(3), np.empty((0, 3)), k=1, temperature=0.1, classes=3)
    assert found.shape == (0, 3)


def test_torch_tensors_give_the_scores_of_numpy_arrays() -> None:
    bank, queries, labels = _normal(40, 6), _normal(10, 6, seed=1), np.arange(40) % 3
    tensors = (torch.tensor(bank, requires_grad=True), torch.tensor(labels), torch.tensor(queries))
    found = knn_scores(*tensors, k=5, temperature=0.1, classes=3)
    np.testing.assert_array_equal(found, knn_scores(bank, labels, queries, k=5, temperature=0.1, classes=3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_features_of_low_precision_are_compared_in_single_precision(dtype: torch.dtype) -> None:
    bank, queries = torch.tensor(_normal(40, 6)).to(dtype), torch.tensor(_normal(10, 6, seed=1)).to(dtype)
    labels = np.arange(40) % 3
    found = knn_scores(bank, labels, queries, k=5, temperature=0.1, classes=3)
    expected = _sklearn_scores(bank.double().numpy(), labels, queries.double().numpy(), k=5, temperature=0.1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_query_without_direction_gets_the_shares_of_the_whole_bank() -> None:
    found = knn_scores(_normal(8, 3), np.array([0] * 6 + [1] * 2), np.zeros((1, 3)), k=1, temperature=0.1, classes=2)
    np.testing.assert_array_equal(found, [[0.75, 0.25]])


def test_a_bank_image_without_direction_is_farther_than_one_at_an_acute_angle() -> None:
    bank = np.array([[0.0, 0.0], [1.0, 1.0]])
    found = knn_scores(bank, np.array([0, 1]), np.array([[1.0, 0.0]]), k=1, temperature=0.1, classes=2)
    np.testing.assert_array_equal(found, [[0.0, 1.0]])


def test_a_bank_image_without_direction_is_nearer_than_one_at_an_obtuse_angle() -> None:
    bank = np.array([[0.0, 0.0], [-1.0, 1.0]])
    found = knn_scores(bank, np.array([0, 1]), np.array([[1.0, 0.0]]), k=1, temperature=0.1, classes=2)
    np.testing.assert_array_equal(found, [[1.0, 0.0]])


def test_an_empty_bank_is_refused() -> None:
    with pytest.raises(ValueError, match="bank of the k-NN probe is empty"):
        knn_scores(np.empty((0, 3)), np.empty(0, dtype=int), np.eye(3), k=1, temperature=0.1, classes=3)


def test_different_numbers_of_features_are_refused() -> None:
    with pytest.raises(ValueError, match="bank has 3 features an image, the queries have 2"):
        knn_scores(np.eye(3), np.arange(3), np.eye(2), k=1, temperature=0.1, classes=3)


def test_feature_maps_are_refused() -> None:
    with pytest.raises(ValueError, match="queries have shape"):
        knn_scores(np.eye(3), np.arange(3), np.ones((2, 3, 4)), k=1, temperature=0.1, classes=3)


@pytest.mark.parametrize("labels", [[0, 1, 3], [-1, 0, 1]])
def test_a_label_outside_the_classes_is_refused(labels: list[int]) -> None:
    with pytest.raises(ValueError, match=r"classes are 0\.\.2"):
        knn_scores(np.eye(3), np.array(labels), np.eye(3), k=1, temperature=0.1, classes=3)


def test_fewer_labels_than_images_are_refused() -> None:
    with pytest.raises(ValueError, match="3 images but labels of shape"):
        knn_scores(np.eye(3), np.arange(2), np.eye(3), k=1, temperature=0.1, classes=3)


def test_no_neighbours_are_refused() -> None:
    with pytest.raises(ValueError, match="k = 0 neighbours"):
        knn_scores(np.eye(3), np.arange(3), np.eye(3), k=0, temperature=0.1, classes=3)


@pytest.mark.parametrize("temperature", [0.0, -0.1, math.nan])
def test_a_temperature_that_is_not_positive_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="must be greater than 0"):
        knn_scores(np.eye(3), np.arange(3), np.eye(3), k=1, temperature=temperature, classes=3)


def test_features_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="bank hold features that are not finite"):
        knn_scores(np.full((3, 3), np.nan), np.arange(3), np.eye(3), k=1, temperature=0.1, classes=3)
