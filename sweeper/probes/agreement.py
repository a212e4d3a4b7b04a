"""How alike two cells decide, and fail, on the same images: from their stored predictions, no model needed.

Which pairs of cells are compared is the caller's to say; nothing is averaged over pairs here.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

from sweeper.finetune.metrics import Decisions, decide

Marks = npt.NDArray[np.bool_]

IDENTITY = ("part", "image")
"""What tells the rows of a table apart, and which rows of two tables are of the same image."""


def agreement(first: pd.DataFrame, second: pd.DataFrame, task: str, *, by_class: bool = False) -> dict[str, float]:
    """How often two cells decide alike (`decision_...`) and are right or wrong together (`mistake_...`), unrounded.

    Of each of the two:

    * `..._observed`: the share of images on which the cells agree, in [0, 1];
    * `..._expected`: the share if the cells were independent and each kept its own rates. For mistakes of cells with
      accuracies a and b: a b + (1 - a) (1 - b); for decisions: the sum over classes of the product of the shares
      that the cells give a class;
    * `..._kappa`: (observed - expected) / (1 - expected), Cohen's kappa (1960): 1 if always alike, 0 if as
      independent ones, below if less. NaN where expected is 1: both cells always do one and the same.

    `mistake_expected_legacy` is what Juodelyte et al. 2023 computed in place of the expected: a^2 + (1 - a)^2, of the
    first cell alone. It equals `mistake_expected` only where the accuracies are equal (or the first is 1/2); it is
    there to reproduce their figures.

    An image with any number of labels is judged label by label: agreements, observed and expected, are counted over
    all images and labels, each label with its own rates. Mistakes leave out labels that are not known.

    By class, a mistake is one on images of that class (in a multi-label task, on whether an image is of it), and
    decisions are whether an image is said to be of it, over all images. A class without images is NaN.

    Args:
        first: table of predictions as `finetune.metrics.score` takes it, with columns `image` and `part` besides.
        second: another of the same images, in any order, with the same labels and classes.
        task: `binary`, `multiclass` or `multilabel`.
        by_class: whether to add `decision_kappa_class_0` and the like for every class.

    Raises:
        ValueError: an image is in one table alone or in one twice, the tables differ in an image's label or in their
            classes, or a table is none that `score` would judge.
    """
    first, second = _aligned(first, second)
    one, other = decide(first, task), decide(second, task)
    _check_truth(one, other, first)
    decisions = [_pair(one.predicted[:, label], other.predicted[:, label]) for label in range(one.truth.shape[1])]
    mistakes = [_mistakes(one, other, label, task) for label in range(one.truth.shape[1])]
    if task == "multilabel":
        found = _told("decision", _pooled(decisions)) | _told("mistake", _pooled(mistakes))
    else:
        right = _right(one), _right(other)
        found = _told("decision", _classes(one.predicted, other.predicted)) | _told("mistake", _pair(*right))
    if by_class:
        for label, (decision, mistake) in enumerate(zip(decisions, mistakes, strict=True)):
            told = _told("decision", decision) | _told("mistake", mistake)
            found |= {f"{name}_class_{label}": value for name, value in told.items()}
    return found


Pair = tuple[float, float, float, int]
"""Agreement observed, expected and expected by the legacy formula, and of how many judgements."""


def _pair(one: Marks, other: Marks) -> Pair:
    """Of two cells' yes-or-no judgements of the same things; NaN of none."""
    if not len(one):
        return np.nan, np.nan, np.nan, 0
    a, b = float(one.mean()), float(other.mean())
    return float(np.mean(one == other)), a * b + (1 - a) * (1 - b), a**2 + (1 - a) ** 2, len(one)


def _classes(one: Marks, other: Marks) -> Pair:
    """Of two cells' choices of one class an image, (images, classes) with one True a row."""
    shares = one.mean(axis=0), other.mean(axis=0)
    observed = float((one & other).any(axis=1).mean())
    return observed, float(shares[0] @ shares[1]), float(shares[0] @ shares[0]), len(one)


def _pooled(pairs: list[Pair]) -> Pair:
    """Over all labels, each counting by its judgements."""
    counts = np.array([pair[3] for pair in pairs])
    means = [
        float(np.array([pair[place] for pair in pairs])[counts > 0] @ counts[counts > 0] / counts.sum())
        for place in range(3)
    ]
    return means[0], means[1], means[2], int(counts.sum())


def _mistakes(one: Decisions, other: Decisions, label: int, task: str) -> Pair:
    """Whether the cells are right about one class, over the images that `agreement` says."""
    if task == "multilabel":
        seen = one.known[:, label]
        truth = one.truth[seen, label]
        return _pair(one.predicted[seen, label] == truth, other.predicted[seen, label] == truth)
    seen = one.truth[:, label]
    return _pair(_right(one)[seen], _right(other)[seen])


def _right(decisions: Decisions) -> Marks:
    return np.asarray((decisions.predicted & decisions.truth).any(axis=1))


def _told(what: str, pair: Pair) -> dict[str, float]:
    observed, expected, legacy, _ = pair
    # The products of shares that leave no room for chance may miss 1 by rounding.
    room = 1 - expected if not np.isclose(expected, 1.0, rtol=0.0, atol=1e-12) else np.nan
    told = {"observed": observed, "expected": expected, "kappa": (observed - expected) / room}
    told |= {"expected_legacy": legacy} if what == "mistake" else {}
    return {f"{what}_{name}": float(value) for name, value in told.items()}


def _aligned(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables by part and image, after a check that they are of the same."""
    keys = [_identities(table, which) for table, which in ((first, "first"), (second, "second"))]
    alone = keys[0].symmetric_difference(keys[1])
    if len(alone):
        part, image = alone[0]
        where = "first" if alone[0] in keys[0] else "second"
        raise ValueError(
            f"the predictions are of different images: {len(alone)} are in one table alone (image {image!r} of part "
            f"{part!r} only in the {where}); compare cells of one data set and fold, or images that both saw"
        )
    names = list(IDENTITY)
    return first.set_index(names).sort_index(), second.set_index(names).sort_index()


def _identities(table: pd.DataFrame, which: str) -> pd.MultiIndex:
    missing = [name for name in IDENTITY if name not in table]
    if missing:
        raise ValueError(f"the {which} predictions have no column {missing[0]!r}, only {list(table.columns)}")
    keys = pd.MultiIndex.from_frame(table[list(IDENTITY)])
    if keys.has_duplicates:
        part, image = keys[keys.duplicated()][0]
        raise ValueError(
            f"image {image!r} of part {part!r} is twice in the {which} predictions; give those of one cell"
        )
    return keys


def _check_truth(one: Decisions, other: Decisions, table: pd.DataFrame) -> None:
    if one.truth.shape != other.truth.shape:
        classes = one.truth.shape[1], other.truth.shape[1]
        raise ValueError(f"the predictions are of {classes[0]} and of {classes[1]} classes; compare cells of one task")
    odd = ((one.truth != other.truth) | (one.known != other.known)).any(axis=1)
    if odd.any():
        part, image = table.index[odd][0]
        raise ValueError(
            f"the predictions have different labels for {int(odd.sum())} images (first {image!r} of part {part!r}); "
            "compare cells of one task"
        )
