"""The trained baselines against scikit-learn's cross-validation, and that no patient is on both sides."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sweeper.probes.transfer_baselines import knn_baseline, linear_probe


def _data(
    seed: int, *, patients: int = 60, each: int = 3, gap: float = 0.7
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels and patients; a patient's images are of one class."""
    draw = np.random.default_rng(seed)
    groups = np.repeat(np.arange(patients), each)
    labels = groups % 3
    return draw.normal(size=(len(groups), 6)) + gap * np.eye(6)[labels], labels, groups


def _split(seed: int) -> StratifiedGroupKFold:
    return StratifiedGroupKFold(n_splits=5, shuffle=True, random_state=seed)


def test_the_linear_probe_is_scikit_learns_over_patients() -> None:
    features, labels, patients = _data(0)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=1000))
    shares = cross_val_predict(model, features, labels, groups=patients, cv=_split(3), method="predict_proba")
    expected = np.mean([roc_auc_score(labels == label, shares[:, label]) for label in range(3)])
    assert linear_probe(features, labels, patients, seed=3, penalty=2.0) == pytest.approx(expected, abs=1e-12)


def test_the_baseline_of_one_neighbour_is_the_class_of_the_nearest_image_of_another_patient() -> None:
    features, labels, patients = _data(1)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    found = np.empty_like(labels)
    for train, held in _split(0).split(features, labels, patients):
        found[held] = labels[train][np.argmax(unit[held] @ unit[train].T, axis=1)]
    expected = balanced_accuracy_score(labels, found)
    score = knn_baseline(features, labels, patients, seed=0, k=1, metric="balanced_accuracy")
    assert score == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("baseline", [knn_baseline, linear_probe])
def test_features_that_tell_only_the_patient_do_not_tell_the_class(baseline: type) -> None:
    # Each patient's images are alike, so with a patient on both sides the nearest image gives the class away.
    draw = np.random.default_rng(2)
    groups = np.repeat(np.arange(200), 4)
    features = draw.normal(size=(200, 30))[groups] + 1e-3 * draw.normal(size=(800, 30))
    labels = draw.integers(2, size=200)[groups]
    assert baseline(features, labels, groups, seed=0) == pytest.approx(0.5, abs=0.12)
    alone = np.arange(800)
    assert knn_baseline(features, labels, alone, seed=0, k=3) > 0.99


def test_patients_may_have_names() -> None:
    features, labels, patients = _data(3)
    names = np.array([f"p{number:03}" for number in patients])
    assert linear_probe(features, labels, names, seed=0) == linear_probe(features, labels, patients, seed=0)


def test_another_seed_draws_other_folds() -> None:
    assert linear_probe(*_data(4), seed=0) != linear_probe(*_data(4), seed=1)


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_a_class_of_one_patient_is_refused() -> None:
    features, labels, patients = _data(5)
    labels = np.where(patients == 7, 3, labels)
    with pytest.raises(ValueError, match="all images of class 3 fell into one fold"):
        linear_probe(features, labels, patients, seed=0)


def test_fewer_patients_than_folds_are_refused() -> None:
    features, labels, _ = _data(6)
    with pytest.raises(ValueError, match="4 patients for 5 folds"):
        linear_probe(features, labels, np.arange(180) % 4, seed=0)


def test_other_numbers_of_patients_than_images_are_refused() -> None:
    features, labels, patients = _data(7)
    with pytest.raises(ValueError, match="one patient an image"):
        knn_baseline(features, labels, patients[:-1], seed=0)


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no metric 'auc' for a baseline; there are .*auroc"):
        linear_probe(*_data(8), seed=0, metric="auc")


@pytest.mark.parametrize("penalty", [0.0, -1.0, float("nan")])
def test_a_penalty_that_is_not_positive_is_refused(penalty: float) -> None:
    with pytest.raises(ValueError, match="must be greater than 0"):
        linear_probe(*_data(9), seed=0, penalty=penalty)
