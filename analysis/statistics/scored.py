"""One part's predictions of one cell as arrays, checked: what intervals and tests of single AUROCs start from.

The table is the stored one; nothing is scored here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from sweeper.metric import TASKS

Floats = npt.NDArray[np.float64]
Truth = npt.NDArray[np.bool_]
Whole = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The images of one part in the order of their names, n images and k classes."""

    task: str
    images: npt.NDArray[np.object_]
    """Names, (n,)."""
    patients: Whole
    """A number for each patient, 0, 1, ..., (n,)."""
    truth: Truth
    """Whether an image is of a class, (n, k); False where that is not known."""
    known: Truth
    """Whether that is known, (n, k); always, but in a multi-label task."""
    scores: Floats
    """(n, k), finite."""

    @property
    def labels(self) -> Whole:
        """The one class of each image, (n,); of no use in a multi-label task."""
        return self.truth.argmax(axis=1)


def read_scored(predictions: pd.DataFrame, task: str, *, part: str = "test") -> Scored:
    """The rows of one part.

    Args:
        predictions: rows of one cell: `image`, `patient`, `part`, `score_0` .. `score_{k-1}`, and `label` (0..k-1), for
            a multi-label task `label_0` .. `label_{k-1}` (0, 1, or NaN where it is not known). Of `frames.predictions`
            the rows of one `key`; classes that only other cells have are columns without a value, and left out.
        task: `binary` (k = 2), `multiclass` or `multilabel`.
        part: whose images.

    Raises:
        ValueError: when there is more than one cell, no such part, an image twice, no patient, a score that is not
            finite, or a label that is none of the classes.
    """
    if task not in TASKS:
        raise ValueError(f"no statistics for task {task!r}; there are some for {', '.join(TASKS)}")
    _check_columns(predictions)
    rows = predictions[predictions["part"] == part].sort_values("image", ignore_index=True)
    if rows.empty:
        known = ", ".join(sorted(map(str, predictions["part"].unique()))) or "none"
        raise ValueError(f"the predictions have no rows of part '{part}'; their parts are {known}")
    if (twice := rows["image"].duplicated()).any():
        raise ValueError(f"image {rows['image'][twice].iloc[0]} is in part '{part}' twice; give the rows of one cell")
    if rows["patient"].isna().any():
        raise ValueError(
            f"image {rows['image'][rows['patient'].isna()].iloc[0]} has no patient; name one for each image"
        )
    scores = _scores(rows)
    if task == "binary" and scores.shape[1] != 2:
        raise ValueError(f"a binary task has scores for 2 classes, the predictions have {scores.shape[1]}")
    truth, known = _truth(rows, task, classes=scores.shape[1])
    return Scored(
        task=task,
        images=rows["image"].to_numpy(dtype=object),
        patients=pd.factorize(rows["patient"])[0].astype(np.int64),
        truth=truth,
        known=known,
        scores=scores,
    )


def check_same_images(first: Scored, second: Scored) -> None:
    """Refuses two cells whose images, patients, labels or task differ: a paired statistic would mix them up.

    Raises:
        ValueError: naming the first difference.
    """
    if first.task != second.task:
        raise ValueError(f"one cell's task is {first.task}, the other's {second.task}; compare cells of one task")
    if set(first.images) != set(second.images):
        alone = min(map(str, set(first.images) ^ set(second.images)))
        raise ValueError(f"image {alone} is among the predictions of one cell only; compare cells of one split")
    if first.truth.shape != second.truth.shape:
        raise ValueError(f"one cell has {first.truth.shape[1]} classes, the other {second.truth.shape[1]}")
    other = (first.truth != second.truth).any(axis=1) | (first.known != second.known).any(axis=1)
    if other.any():
        raise ValueError(
            f"image {first.images[other][0]} has other labels in the two cells; compare cells of one data set"
        )
    if not np.array_equal(first.patients, second.patients):
        raise ValueError("the two cells' images are of other patients; compare cells of one data set")


def _check_columns(predictions: pd.DataFrame) -> None:
    lacks = [name for name in ("image", "patient", "part") if name not in predictions]
    if lacks:
        raise ValueError(f"the predictions have no column '{lacks[0]}', only {list(predictions.columns)}")
    if "key" in predictions and predictions["key"].nunique() > 1:
        raise ValueError(f"the predictions are of {predictions['key'].nunique()} cells; give the rows of one key")


def _scores(rows: pd.DataFrame) -> Floats:
    wanted = _numbered("score", rows)
    scores = rows[wanted].to_numpy(dtype=np.float64)
    bad = np.logical_not(np.isfinite(scores).all(axis=1)).reshape(-1)
    if bad.any():
        raise ValueError(
            f"image {rows['image'][bad].iloc[0]} has a score that is not finite ({bad.sum()} of {len(bad)} do)"
        )
    return scores


def _numbered(kind: str, rows: pd.DataFrame) -> Sequence[str]:
    """The columns `kind_0`, `kind_1`, ... that have values, none of them left out."""
    found = [name for name in map(str, rows) if name.startswith(f"{kind}_")]
    if kind == "score":
        found = [name for name in found if rows[name].notna().any()]
    wanted = [f"{kind}_{number}" for number in range(len(found))]
    if len(found) < 2 or set(found) != set(wanted):
        raise ValueError(f"the {kind} columns with values are {found}; they must be {kind}_0, {kind}_1, ... for k >= 2")
    return wanted


def _truth(rows: pd.DataFrame, task: str, *, classes: int) -> tuple[Truth, Truth]:
    if task == "multilabel":
        wanted = [f"label_{number}" for number in range(classes)]
        if missing := [name for name in wanted if name not in rows]:
            raise ValueError(f"the predictions have no column '{missing[0]}', but scores of {classes} classes")
        labels = rows[wanted].to_numpy(dtype=np.float64)
        known = ~np.isnan(labels)
        if (strange := known & ~np.isin(labels, (0, 1))).any():
            raise ValueError(f"label {labels[strange][0]:g} of the predictions is neither 0 nor 1")
        return labels == 1, known
    if "label" not in rows:
        raise ValueError(f"the predictions have no column 'label', only {list(rows.columns)}")
    labels = rows["label"].to_numpy()
    if not np.isin(labels, np.arange(classes)).all():
        strange = labels[~np.isin(labels, np.arange(classes))][0]
        raise ValueError(f"label {strange} of the predictions is none of the {classes} scored classes 0..{classes - 1}")
    truth = labels.astype(np.int64)[:, None] == np.arange(classes)
    return truth, np.ones_like(truth)
