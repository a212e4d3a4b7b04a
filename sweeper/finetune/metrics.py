"""The numbers a cell is judged by: ranking, agreement and likelihood of one table of predictions.

`sweeper.metric` defines every id; here they are computed. Nothing is rounded and nothing is made up: classes of which a
part has no image are left out of averages and counted, and what cannot be computed is NaN. Which metrics select, stop
or are shown is decided elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from sweeper.finetune.ranking import (
    Counts,
    Labels,
    Scores,
    Truth,
    auroc,
    average_precision,
    count,
    one_vs_one,
    trapezoid,
)
from sweeper.metric import CLASS_METRICS, METRICS, TASKS, metrics_of

__all__ = ["METRICS", "Decisions", "decide", "score"]

BINS = 15
"""Of `ece`, as Guo et al. 2017."""
THRESHOLD = 0.5
"""Above it a label of a multi-label task is predicted, as Matsoukas et al. 2022 do."""
SMALLEST_PROBABILITY = float(np.finfo(np.float64).eps)
"""A true class with a smaller probability counts as this (scikit-learn's own clip): `nll` is at most 36.04."""
SUM_TOLERANCE = 1e-4
"""How far a row's probabilities may be from 1: softmax in half precision stays well inside."""
_NOBODY = Counts(positives=np.zeros(1), negatives=np.zeros(1))
_AREAS = (("auroc", auroc), ("auprc", average_precision), ("auprc_trapezoid", trapezoid))

Floats = npt.NDArray[np.float64]


def score(predictions: pd.DataFrame, task: str, *, by_class: bool = False) -> dict[str, float]:
    """Every metric that `METRICS` has for the task, then `COUNTS`, unrounded; NaN where a metric is undefined.

    A class without an image is no error: it is left out and counted. With images of one class alone `kappa`,
    `quadratic_kappa` (unless others are predicted) and all areas but `auroc_micro` are NaN.

    Args:
        predictions: one row an image; `score_0` .. `score_{k-1}`, and `label` (0..k-1), for a multi-label task
            `label_0` .. `label_{k-1}` (0, 1, or NaN where it is not known); other columns are not looked at.
        task: `binary` (k = 2) or `multiclass`, whose scores sum to 1 in each row, or `multilabel`.
        by_class: whether to add `auroc_class_0` and the like: `CLASS_METRICS` of each class, NaN if it is not ranked.

    Raises:
        ValueError: a column is missing, there is no row, a probability is not finite, is outside [0, 1] or does not
            sum to 1 in its row, a label is not one of those, or the task does not fit.
    """
    scores = _probabilities(predictions, task)  # (images, classes)
    classes = scores.shape[1]
    _check_task(task, classes=classes)
    if task == "multilabel":
        truth, known = _label_matrix(predictions, classes=classes)  # (images, classes) each
        found = _judge_labels(truth, known, scores)
    else:
        labels = _labels(predictions, classes=classes)  # (images,)
        truth = labels[:, None] == np.arange(classes)
        known = np.ones_like(truth)
        found = _judge_classes(labels, truth, scores, task)
    positives = truth.sum(axis=0)
    areas = _areas(truth, known, scores)
    found |= _summarise(areas, positives, task)
    told = {name: found[name] for name in metrics_of(task)}
    told["classes_absent"] = float(np.sum(positives == 0))
    told["classes_unranked"] = float(np.sum((positives == 0) | (positives == known.sum(axis=0))))
    return told | (_name_by_class(areas) if by_class else {})


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """What a table of predictions says of each image and class, and what is so; each (images, classes), bool."""

    predicted: Truth
    """Where an image has one class, that of the highest score, the first of equal ones; else scores above 0.5."""
    truth: Truth
    """False where it is not known."""
    known: Truth
    """Whether the truth is known; all True but for a multi-label task."""


def decide(predictions: pd.DataFrame, task: str) -> Decisions:
    """The decisions by which `score` counts accuracy and confusions; it takes and refuses the same tables."""
    scores = _probabilities(predictions, task)
    classes = scores.shape[1]
    _check_task(task, classes=classes)
    if task == "multilabel":
        truth, known = _label_matrix(predictions, classes=classes)
        return Decisions(predicted=scores > THRESHOLD, truth=truth, known=known)
    truth = _labels(predictions, classes=classes)[:, None] == np.arange(classes)
    predicted = scores.argmax(axis=1)[:, None] == np.arange(classes)
    return Decisions(predicted=predicted, truth=truth, known=np.ones_like(truth))


def _areas(truth: Truth, known: Truth, scores: Scores) -> dict[str, Floats]:
    """Of each area, its value for each class against all others, (classes,), over the images of which it is known."""
    counts = [
        count(truth[seen, number], scores[seen, number]) if seen.any() else _NOBODY
        for number, seen in enumerate(known.T)
    ]
    return {name: np.array([area(each) for each in counts]) for name, area in _AREAS}


def _summarise(areas: Mapping[str, Floats], positives: Labels, task: str) -> dict[str, float]:
    """One number for each area, and the AUROC weighted by the classes' positives."""
    if task == "binary":
        return {name: float(values[1]) for name, values in areas.items()} | {"auroc_weighted": float(areas["auroc"][1])}
    ranked = ~np.isnan(areas["auroc"])
    found = {name: _mean(values[ranked]) for name, values in areas.items()}
    shares = positives[ranked] / max(positives[ranked].sum(), 1)
    weighted = float(areas["auroc"][ranked] @ shares) if ranked.any() else float("nan")
    return found | {"auroc_weighted": weighted}


def _name_by_class(areas: Mapping[str, Floats]) -> dict[str, float]:
    classes = range(len(areas["auroc"]))
    return {f"{name}_class_{number}": float(areas[name][number]) for number in classes for name in CLASS_METRICS}


def _judge_classes(labels: Labels, truth: Truth, scores: Scores, task: str) -> dict[str, float]:
    """What is not an area one against all others, where each image has one class."""
    classes = scores.shape[1]
    predicted = scores.argmax(axis=1)
    given = scores[np.arange(len(labels)), labels]
    confusion = np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
    distance = np.subtract.outer(np.arange(classes), np.arange(classes))
    overlap = _judge_overlap(np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0))
    squares = (scores - truth) ** 2
    return overlap | {
        "accuracy": float(np.mean(predicted == labels)),
        "balanced_accuracy": overlap["recall_macro"],
        "nll": float(-np.log(np.clip(given, SMALLEST_PROBABILITY, 1.0)).mean()),
        "brier": float(squares[:, 1].mean() if task == "binary" else squares.sum(axis=1).mean()),
        "ece": _calibration_error(predicted == labels, scores.max(axis=1)),
        "kappa": _kappa(confusion, distance != 0),
        "quadratic_kappa": _kappa(confusion, distance**2),
        "auroc_ovo": auroc(count(truth[:, 1], scores[:, 1])) if task == "binary" else one_vs_one(labels, scores),
        "auroc_micro": auroc(count(truth.ravel(), scores.ravel())),
    }


def _judge_labels(truth: Truth, known: Truth, scores: Scores) -> dict[str, float]:
    """What is not an area one against all others, where an image has any number of labels."""
    predicted = (scores > THRESHOLD) & known
    given = np.where(truth, scores, 1 - scores)[known]  # (labels that are known,)
    return _judge_overlap((truth & predicted).sum(axis=0), truth.sum(axis=0), predicted.sum(axis=0)) | {
        "accuracy": float(np.mean((predicted == truth).all(axis=1))),
        "nll": float(-np.log(np.clip(given, SMALLEST_PROBABILITY, 1.0)).mean()),
        "brier": float(np.mean((scores - truth)[known] ** 2)),
        "auroc_micro": auroc(count(truth[known], scores[known])),
    }


def _judge_overlap(both: Labels, true: Labels, predicted: Labels) -> dict[str, float]:
    """Precision, recall and F1 from each class's images that are of it, predicted to be, and both."""
    both, true, predicted = both[true > 0], true[true > 0], predicted[true > 0]
    return {
        "precision_macro": _mean(both / np.maximum(predicted, 1)),
        "recall_macro": _mean(both / true),
        "f1_macro": _mean(2 * both / (true + predicted)),
    }


def _kappa(confusion: Labels, cost: np.ndarray) -> float:
    """1 - what the confusions cost / what they would if truth and prediction were independent; NaN for 0 / 0."""
    expected = np.outer(confusion.sum(axis=1), confusion.sum(axis=0)) / confusion.sum()
    chance = float((cost * expected).sum())
    return 1 - float((cost * confusion).sum()) / chance if chance else float("nan")


def _calibration_error(right: Truth, confidence: Floats) -> float:
    """The mean distance of accuracy and confidence over bins of confidence, weighted by their images."""
    edges = np.arange(1, BINS) / BINS
    place = np.searchsorted(edges, confidence)  # a bin holds its upper edge
    gaps = np.bincount(place, weights=right, minlength=BINS) - np.bincount(place, weights=confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(right))


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _probabilities(predictions: pd.DataFrame, task: str) -> Scores:
    """The score columns in the order of their classes, as float64 (images, classes)."""
    wanted = _numbered("score", predictions)
    if predictions.empty:
        raise ValueError("the predictions have no rows; score a part that has images")
    scores = predictions[wanted].to_numpy(dtype=np.float64)
    outside = (scores < 0) | (scores > 1 + SUM_TOLERANCE)
    _refuse(np.any(~np.isfinite(scores), axis=1), "has a score that is not finite", predictions)
    _refuse(np.any(outside, axis=1), "has a score outside [0, 1]", predictions)
    if task != "multilabel":
        _refuse(np.abs(scores.sum(axis=1) - 1) > SUM_TOLERANCE, "has scores that do not sum to 1", predictions)
    return scores


def _numbered(kind: str, predictions: pd.DataFrame) -> Sequence[str]:
    """The columns `kind_0`, `kind_1`, ... of a table that has at least two of them, and none left out."""
    found = [name for name in predictions.columns if str(name).startswith(f"{kind}_")]
    wanted = [f"{kind}_{number}" for number in range(len(found))]
    if len(found) < 2 or set(found) != set(wanted):
        raise ValueError(
            f"{kind} columns of the predictions are {found}; they must be {kind}_0, {kind}_1, ... for k >= 2"
        )
    return wanted


def _refuse(bad: Truth, what: str, predictions: pd.DataFrame) -> None:
    """Names the first bad row, if there is one."""
    if bad.any():
        raise ValueError(
            f"row {predictions.index[bad][0]} of the predictions {what} ({int(bad.sum())} of {len(bad)} rows do); "
            "scores must be class probabilities"
        )


def _labels(predictions: pd.DataFrame, *, classes: int) -> Labels:
    if "label" not in predictions:
        raise ValueError(f"the predictions have no column 'label', only {list(predictions.columns)}")
    labels = predictions["label"].to_numpy()
    if not np.isin(labels, np.arange(classes)).all():
        strange = labels[~np.isin(labels, np.arange(classes))][0]
        raise ValueError(f"label {strange} of the predictions is none of the {classes} scored classes 0..{classes - 1}")
    return labels.astype(np.int64)


def _label_matrix(predictions: pd.DataFrame, *, classes: int) -> tuple[Truth, Truth]:
    """Which images are of which classes, and of which that is known; none is of a class where it is not."""
    wanted = _numbered("label", predictions)
    if len(wanted) != classes:
        raise ValueError(f"the predictions have labels of {len(wanted)} classes and scores of {classes}")
    labels = predictions[wanted].to_numpy(dtype=np.float64)
    known = ~np.isnan(labels)
    if (strange := known & ~np.isin(labels, (0, 1))).any():
        raise ValueError(f"label {labels[strange][0]:g} of the predictions is neither 0 nor 1")
    if not known.any():
        raise ValueError("no label of the predictions is known; score a part that has some")
    return labels == 1, known


def _check_task(task: str, *, classes: int) -> None:
    if task not in TASKS:
        raise ValueError(f"no metrics for task {task!r}; there are metrics for {', '.join(TASKS)}")
    if task == "binary" and classes != 2:
        raise ValueError(f"a binary task has scores for 2 classes, the predictions have {classes}; use 'multiclass'")
