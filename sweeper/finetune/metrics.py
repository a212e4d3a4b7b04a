"""The numbers a cell is judged by: ranking, accuracy and likelihood of one table of predictions.

Nothing is rounded, nothing is made up for a class that is absent, and no class is weighted by its size: every average
over classes is a macro average. Multi-label tasks are not scored here.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, roc_auc_score

METRICS: Mapping[str, bool] = MappingProxyType(
    {"auroc": True, "auprc": True, "accuracy": True, "balanced_accuracy": True, "f1_macro": True, "nll": False}
)
"""Name -> whether a higher value is better."""
TASKS = ("binary", "multiclass")

SMALLEST_PROBABILITY = float(np.finfo(np.float64).eps)
"""A true class with a smaller probability counts as this (scikit-learn's own clip): `nll` is at most 36.04."""
SUM_TOLERANCE = 1e-4
"""How far a row's probabilities may be from 1: softmax in half precision stays well inside."""


def score(predictions: pd.DataFrame, task: str) -> dict[str, float]:
    """Every metric of `METRICS`, unrounded, of class probabilities against the true classes.

    `auroc`: area under the ROC curve; a tie between a positive and a negative counts one half.
    `auprc`: average precision, the step-wise sum of precision x gain in recall (not the trapezoid under the curve).
    Both are of class 1 for a `binary` task, and the macro mean over one-vs-rest problems for a `multiclass` one.
    `accuracy`, `balanced_accuracy` (mean recall over classes), `f1_macro` (mean F1 over classes; a class that is never
    predicted has F1 = 0): of the class with the highest probability, the first one where several share it.
    `nll`: mean over images of -ln(probability of the true class), in nats, with `SMALLEST_PROBABILITY` as floor.

    Args:
        predictions: one row an image; `label` (0..k-1) and `score_0` .. `score_{k-1}`, each row summing to 1; other
            columns are not looked at.
        task: `binary` (k = 2) or `multiclass`.

    Raises:
        ValueError: a column is missing, a probability is not finite, is outside [0, 1] or does not sum to 1 in its row,
            a label is not one of 0..k-1, a class has no image, or the task does not fit.
    """
    scores = _probabilities(predictions)  # (images, classes)
    labels = _labels(predictions, classes=scores.shape[1])  # (images,)
    _check_task(task, classes=scores.shape[1])
    ranked = [1] if task == "binary" else list(range(scores.shape[1]))
    truth = labels[:, None] == np.array(ranked)  # (images, ranked classes)
    predicted = scores.argmax(axis=1)
    given = scores[np.arange(len(labels)), labels]
    return {
        "auroc": float(roc_auc_score(truth, scores[:, ranked], average="macro")),
        "auprc": float(average_precision_score(truth, scores[:, ranked], average="macro")),
        "accuracy": float(np.mean(predicted == labels)),
        "balanced_accuracy": float(balanced_accuracy_score(labels, predicted)),
        "f1_macro": float(f1_score(labels, predicted, average="macro")),
        "nll": float(-np.log(np.clip(given, SMALLEST_PROBABILITY, 1.0)).mean()),
    }


def _probabilities(predictions: pd.DataFrame) -> np.ndarray:
    """The score columns in the order of their classes, as float64 (images, classes)."""
    found = [name for name in predictions.columns if str(name).startswith("score_")]
    wanted = [f"score_{number}" for number in range(len(found))]
    if len(found) < 2 or set(found) != set(wanted):
        raise ValueError(f"score columns of the predictions are {found}; they must be score_0, score_1, ... for k >= 2")
    scores = predictions[wanted].to_numpy(dtype=np.float64)
    outside = (scores < 0) | (scores > 1 + SUM_TOLERANCE)
    _refuse(np.any(~np.isfinite(scores), axis=1), "has a score that is not finite", predictions)
    _refuse(np.any(outside, axis=1), "has a score outside [0, 1]", predictions)
    _refuse(np.abs(scores.sum(axis=1) - 1) > SUM_TOLERANCE, "has scores that do not sum to 1", predictions)
    return scores


def _refuse(bad: npt.NDArray[np.bool_], what: str, predictions: pd.DataFrame) -> None:
    """Names the first bad row, if there is one."""
    if bad.any():
        raise ValueError(
            f"row {predictions.index[bad][0]} of the predictions {what} ({int(bad.sum())} of {len(bad)} rows do); "
            "scores must be class probabilities"
        )


def _labels(predictions: pd.DataFrame, *, classes: int) -> np.ndarray:
    if "label" not in predictions:
        raise ValueError(f"the predictions have no column 'label', only {list(predictions.columns)}")
    labels = predictions["label"].to_numpy()
    if not np.isin(labels, np.arange(classes)).all():
        strange = labels[~np.isin(labels, np.arange(classes))][0]
        raise ValueError(f"label {strange} of the predictions is none of the {classes} scored classes 0..{classes - 1}")
    absent = sorted(set(range(classes)) - set(labels.tolist()))
    if absent:
        raise ValueError(
            f"class {absent[0]} has no image among the {len(labels)} predictions (absent: {absent}), "
            "so its scores are undefined; score a part that has every class"
        )
    return labels.astype(np.int64)


def _check_task(task: str, *, classes: int) -> None:
    if task not in TASKS:
        raise ValueError(f"no metrics for task {task!r}; there are metrics for {', '.join(TASKS)}")
    if task == "binary" and classes != 2:
        raise ValueError(f"a binary task has scores for 2 classes, the predictions have {classes}; use 'multiclass'")
