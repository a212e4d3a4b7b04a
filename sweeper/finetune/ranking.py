"""Areas under ROC and precision-recall curves: how well scores rank the images of a class above the others.

Every curve is exact, its thresholds being all distinct scores. No table is read and no class is left out here: what a
curve lacks is NaN, and averages are `metrics`'s business. scikit-learn has the same values, to the last bit where it
has the same metric, but sorts anew for each of them and checks its input longer than it computes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]
Truth = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many images are at or above each distinct score, from the highest score down."""

    positives: npt.NDArray[np.float64]
    negatives: npt.NDArray[np.float64]

    @property
    def ranked(self) -> bool:
        """Whether there is a positive and a negative."""
        return self.positives[-1] > 0 and self.negatives[-1] > 0


def count(truth: Truth, scores: Scores) -> Counts:
    """The counts of a one-vs-rest problem of at least one image.

    Args:
        truth: (images,).
        scores: (images,), finite.
    """
    order, ends = _descend(scores)
    positives = truth[order].cumsum()[ends]
    return Counts(positives=positives.astype(np.float64), negatives=(ends + 1 - positives).astype(np.float64))


def auroc(counts: Counts) -> float:
    """The area under the ROC curve; NaN without a positive or a negative."""
    if not counts.ranked:
        return float("nan")
    true, false = _corners(counts)
    return float(np.trapezoid(true / true[-1], false / false[-1]))


def average_precision(counts: Counts) -> float:
    """The sum over thresholds of precision x gain in recall; NaN without a positive or a negative."""
    if not counts.ranked:
        return float("nan")
    precision, recall = _precision_recall(counts)
    return float(max(0.0, -np.sum(np.diff(recall) * precision[:-1])))


def trapezoid(counts: Counts) -> float:
    """The area under the precision-recall curve with straight lines between thresholds; NaN as above."""
    if not counts.ranked:
        return float("nan")
    precision, recall = _precision_recall(counts)
    return float(-np.trapezoid(precision, recall))


def one_vs_one(labels: Labels, scores: Scores) -> float:
    """Hand & Till's mean, over ordered pairs of classes that have images, of the AUROC of the first against the second.

    The images of the two classes alone are ranked, by the scores of the first. NaN where fewer than two have images.

    Args:
        labels: (images,), class numbers.
        scores: (images, classes), finite.
    """
    present, own = np.unique(labels, return_inverse=True)
    truth = np.eye(len(present))[own]  # (images, present)
    sizes = truth.sum(axis=0)
    total = 0.0
    for number, name in enumerate(present):
        order, ends = _descend(scores[:, name])
        reached = truth[order].cumsum(axis=0)[ends]  # (distinct scores, present)
        before = np.vstack([np.zeros(len(present)), reached[:-1]])
        gained = reached[:, number] - before[:, number]  # positives at each score
        below = sizes - (reached + before) / 2  # negatives under it, and half of those at it
        pairs = gained @ below / (sizes[number] * sizes)  # (present,): of this class against each
        total += pairs.sum() - pairs[number]
    return float(total / (len(present) * (len(present) - 1))) if len(present) > 1 else float("nan")


def _descend(scores: Scores) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The images from the highest score down, and the place of the last one of each distinct score."""
    order = np.argsort(scores)[::-1]
    steps = np.flatnonzero(np.diff(scores[order]))
    return order, np.append(steps, len(scores) - 1)


def _corners(counts: Counts) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The counts from (0, 0) on, without those inside a straight line: sums of fewer terms, as scikit-learn's are."""
    true, false = counts.positives, counts.negatives
    if len(true) > 2:
        bends = (np.diff(true, 2) != 0) | (np.diff(false, 2) != 0)
        kept = np.concatenate([[True], bends, [True]])
        true, false = true[kept], false[kept]
    return np.append(0.0, true), np.append(0.0, false)


def _precision_recall(counts: Counts) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Precision and recall from the lowest threshold up to the end of the curve, precision 1 at recall 0."""
    precision = counts.positives / (counts.positives + counts.negatives)
    recall = counts.positives / counts.positives[-1]
    return np.append(precision[::-1], 1.0), np.append(recall[::-1], 0.0)
