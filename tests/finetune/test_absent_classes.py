"""Metrics of a part that lacks a class, against scikit-learn on the classes that it has."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from sweeper.finetune.metrics import score
from sweeper.metric import CLASS_METRICS, metrics_of


def _without(absent: int, *, classes: int = 4, seed: int = 0) -> pd.DataFrame:
    """150 images of all classes but one, which is predicted sometimes."""
    draw = np.random.default_rng(seed)
    labels = draw.choice([number for number in range(classes) if number != absent], 150)
    logits = draw.normal(size=(150, classes)) + np.eye(classes)[labels]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return pd.DataFrame({"label": labels} | {f"score_{number}": each for number, each in enumerate(scores.T)})


def _one_class(label: int, *, classes: int) -> pd.DataFrame:
    """40 images of one class, of which some are predicted to be of others."""
    scores = np.random.default_rng(1).dirichlet(np.ones(classes), 40)
    return pd.DataFrame({"label": label} | {f"score_{number}": each for number, each in enumerate(scores.T)})


def _scores(table: pd.DataFrame) -> np.ndarray:
    return table.filter(like="score_").to_numpy()


@pytest.fixture(params=[0, 2, 3])
def absent(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def table(absent: int) -> pd.DataFrame:
    return _without(absent)


@pytest.fixture
def found(table: pd.DataFrame) -> dict[str, float]:
    return score(table, "multiclass", by_class=True)


@pytest.fixture
def present(absent: int) -> list[int]:
    return [number for number in range(4) if number != absent]


def test_an_absent_class_is_counted(found: dict[str, float]) -> None:
    assert (found["classes_absent"], found["classes_unranked"]) == (1, 1)


def test_where_every_class_has_images_none_is_counted() -> None:
    found = score(_without(-1), "multiclass")
    assert (found["classes_absent"], found["classes_unranked"]) == (0, 0)


@pytest.mark.parametrize(("name", "average"), [("auroc", "macro"), ("auroc_weighted", "weighted")])
def test_the_auroc_is_the_average_over_the_other_classes(
    table: pd.DataFrame, found: dict[str, float], present: list[int], name: str, average: str
) -> None:
    truth = table["label"].to_numpy()[:, None] == present
    expected = metrics.roc_auc_score(truth, _scores(table)[:, present], average=average)
    assert found[name] == pytest.approx(expected, abs=1e-12)


def test_average_precision_is_the_mean_over_the_other_classes(
    table: pd.DataFrame, found: dict[str, float], present: list[int]
) -> None:
    truth = table["label"].to_numpy()[:, None] == present
    expected = metrics.average_precision_score(truth, _scores(table)[:, present], average="macro")
    assert found["auprc"] == pytest.approx(expected, abs=1e-12)


def test_the_micro_average_keeps_the_scores_of_the_absent_class_as_negatives(
    table: pd.DataFrame, found: dict[str, float]
) -> None:
    expected = metrics.roc_auc_score(np.eye(4)[table["label"]].ravel(), _scores(table).ravel())
    assert found["auroc_micro"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "by_sklearn"),
    [
        ("precision_macro", metrics.precision_score),
        ("recall_macro", metrics.recall_score),
        ("balanced_accuracy", metrics.recall_score),
        ("f1_macro", metrics.f1_score),
    ],
)
def test_a_mean_over_classes_is_that_over_the_other_classes(
    table: pd.DataFrame, found: dict[str, float], present: list[int], name: str, by_sklearn: Callable
) -> None:
    predicted = _scores(table).argmax(axis=1)
    assert set(predicted) == {0, 1, 2, 3}
    expected = by_sklearn(table["label"], predicted, labels=present, average="macro")
    assert found[name] == pytest.approx(expected, abs=1e-12)


def test_an_absent_grade_keeps_its_distance(table: pd.DataFrame, found: dict[str, float]) -> None:
    # Left to itself scikit-learn numbers the classes that it sees; here a class's number is its grade.
    predicted = _scores(table).argmax(axis=1)
    expected = metrics.cohen_kappa_score(table["label"], predicted, weights="quadratic", labels=range(4))
    assert found["quadratic_kappa"] == pytest.approx(expected, abs=1e-12)


def test_a_grade_that_is_neither_true_nor_predicted_keeps_its_distance() -> None:
    labels, predicted = np.array([0, 1, 3, 3, 1]), np.array([0, 3, 3, 1, 1])
    scores = {f"score_{number}": each for number, each in enumerate(np.eye(4)[predicted].T)}
    expected = metrics.cohen_kappa_score(labels, predicted, weights="quadratic", labels=range(4))
    assert expected != metrics.cohen_kappa_score(labels, predicted, weights="quadratic")
    found = score(pd.DataFrame({"label": labels} | scores), "multiclass")
    assert found["quadratic_kappa"] == pytest.approx(expected, abs=1e-12)


def test_the_absent_class_itself_has_no_score_and_the_others_have(
    found: dict[str, float], absent: int, present: list[int]
) -> None:
    undefined = [name for name, value in found.items() if math.isnan(value)]
    assert undefined == [f"{name}_class_{absent}" for name in CLASS_METRICS]
    assert all(f"auroc_class_{number}" in found for number in present)


def test_an_absent_class_that_is_never_predicted_changes_no_mean_over_classes() -> None:
    table = _without(3, classes=4)
    three = table.drop(columns="score_3")
    three = three.assign(**{name: three[name] / (1 - table["score_3"]) for name in three.filter(like="score_")})
    padded = three.assign(score_3=0.0)
    ours, theirs = score(padded, "multiclass"), score(three, "multiclass")
    names = set(metrics_of("multiclass")) - {"auroc_micro"}
    assert {name: ours[name] for name in names} == pytest.approx({name: theirs[name] for name in names}, abs=1e-12)


AREAS = {"auroc", "auroc_ovo", "auroc_weighted", "auprc", "auprc_trapezoid"}


@pytest.mark.parametrize(("task", "classes"), [("binary", 2), ("multiclass", 3)])
@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_has_no_ranking_and_is_still_scored(task: str, classes: int, label: int) -> None:
    found = score(_one_class(label, classes=classes), task)
    assert {name for name, value in found.items() if math.isnan(value)} == AREAS
    assert (found["classes_absent"], found["classes_unranked"]) == (classes - 1, classes)


def test_one_class_that_is_always_right_has_no_kappa() -> None:
    found = score(pd.DataFrame({"label": [1, 1], "score_0": [0.1, 0.2], "score_1": [0.9, 0.8]}), "binary")
    assert math.isnan(found["kappa"])
    assert math.isnan(found["quadratic_kappa"])
    assert (found["accuracy"], found["balanced_accuracy"], found["f1_macro"]) == (1, 1, 1)


def test_the_rarer_class_of_two_alone_is_no_fair_coin() -> None:
    found = score(_one_class(1, classes=2), "binary", by_class=True)
    assert math.isnan(found["auroc_class_0"])
    assert math.isnan(found["auroc_class_1"])


def test_something_is_undefined_just_where_a_class_is_unranked() -> None:
    parts = [score(_without(-1, classes=3, seed=seed).head(5), "multiclass", by_class=True) for seed in range(40)]
    undefined = [any(map(math.isnan, found.values())) for found in parts]
    assert undefined == [found["classes_unranked"] > 0 for found in parts]
    assert {True, False} == set(undefined)
