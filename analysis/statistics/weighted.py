"""Metrics of many weightings of the same images at once: what a bootstrap needs, for each resample is a weighting.

An image drawn twice counts twice. With weights of 1 every number is that of `sweeper.finetune.metrics`, which defines
it; here nothing is sorted again for a resample. What a resample lacks is NaN.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from analysis.statistics.scored import Floats, Scored, Truth, Whole

Weights = Floats
"""How often each image was drawn, (resamples, images)."""
Measure = Callable[[Weights], Floats]
"""Weights -> the metrics of each resample, (metrics, resamples)."""

THRESHOLD = 0.5
"""As `sweeper.finetune.metrics` has it: above it a label of a multi-label task is predicted."""
SMALLEST_PROBABILITY = float(np.finfo(np.float64).eps)
"""As above: a true class with a smaller probability counts as this."""
_AREA = re.compile(r"(auroc_weighted|auroc|auprc)(?:(?<!weighted)_class_(\d+))?")
_ONE_LABEL = ("balanced_accuracy", "recall_macro", "precision_macro", "f1_macro", "kappa", "quadratic_kappa")
_MEANS = ("accuracy", "nll", "brier")


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """One class's images from the highest score down; of n images g distinct scores are those of a positive."""

    order: Whole
    """(n,)."""
    positives: Whole
    """Places in that order, (positives,)."""
    firsts: Whole
    """Which of the positives is the first of each of the g scores, (g,)."""
    starts: Whole
    """Place of the first image with each of them, (g,)."""
    ends: Whole
    """Place behind the last one, (g,)."""


def metrics_of(scored: Scored, metrics: Sequence[str]) -> Measure:
    """The function that gives some metrics of any weighting of these images.

    `auroc`, `auprc` and `auroc_weighted` are means over the classes that are ranked in the whole part (class 1 in a
    binary task), those of a resample that lacks one of them are NaN: a mean over fewer classes is another number. So
    are `balanced_accuracy`, `recall_macro`, `precision_macro` and `f1_macro` where a resample lacks a present class.

    Raises:
        ValueError: when a metric cannot be weighted, or is not defined for the task, naming those that are.
    """
    chosen = {metric: _classes_of(scored, metric) for metric in metrics}
    rankings = {number: rank(scored, number) for number in sorted(set[int]().union(*chosen.values()))}
    others = {metric: _other_metric(scored, metric) for metric in metrics if not _is_area(metric)}

    def measure(weights: Weights) -> Floats:
        found = {number: areas(ranking, weights) for number, ranking in rankings.items()}
        return np.stack(
            [
                _mean_area([found[number] for number in chosen[metric]], metric, weights)
                if _is_area(metric)
                else others[metric](weights)
                for metric in metrics
            ]
        )

    return measure


def _is_area(metric: str) -> bool:
    return _AREA.fullmatch(metric) is not None


def _classes_of(scored: Scored, metric: str) -> list[int]:
    """The classes whose areas a metric is made of."""
    of_class = _AREA.fullmatch(metric)
    if of_class is None:
        return []
    if of_class[2] is None:
        return [1] if scored.task == "binary" else _ranked(scored)
    if int(of_class[2]) >= scored.truth.shape[1]:
        raise ValueError(_unknown(scored, metric))
    return [int(of_class[2])]


def _other_metric(scored: Scored, metric: str) -> Callable[[Weights], Floats]:
    if metric in _MEANS:
        return partial(_mean, *_per_image(scored, metric))
    if metric in _ONE_LABEL and scored.task != "multilabel":
        return partial(_by_confusion, scored.labels, scored.scores.argmax(axis=1), scored.truth.shape[1], metric)
    raise ValueError(_unknown(scored, metric))


def _unknown(scored: Scored, metric: str) -> str:
    own = () if scored.task == "multilabel" else _ONE_LABEL
    known = ", ".join(["auroc", "auprc", "auroc_weighted", *_MEANS, *own, "auroc_class_N", "auprc_class_N"])
    classes = scored.truth.shape[1]
    return f"no bootstrap of '{metric}' for a {scored.task} task of {classes} classes; there is one of {known}"


def rank(scored: Scored, number: int) -> Ranking:
    """The images of which it is known whether they are of a class, ranked by its scores."""
    seen = np.flatnonzero(scored.known[:, number])
    scores, truth = scored.scores[seen, number], scored.truth[seen, number]
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True)) if len(order) else order
    ends = last + 1
    starts = np.append(0, ends[:-1]).astype(np.int64)[: len(ends)]
    positives = np.flatnonzero(truth[order])
    groups, firsts = np.unique(np.searchsorted(ends, positives, side="right"), return_index=True)
    return Ranking(order=seen[order], positives=positives, firsts=firsts, starts=starts[groups], ends=ends[groups])


def areas(ranking: Ranking, weights: Weights) -> tuple[Floats, Floats, Floats]:
    """AUROC, average precision, and weight of the positives of each resample, (resamples,) each; NaN if unranked."""
    if not len(ranking.positives):
        lacking = np.full(len(weights), np.nan)
        return lacking, lacking, np.zeros(len(weights))
    ordered = weights[:, ranking.order]
    upto = np.zeros((len(weights), ordered.shape[1] + 1))
    np.cumsum(ordered, axis=1, out=upto[:, 1:])
    gained = ordered[:, ranking.positives]
    if len(ranking.firsts) < gained.shape[1]:
        gained = np.add.reduceat(gained, ranking.firsts, axis=1)
    through = upto[:, ranking.ends]
    positives = gained.sum(axis=1)
    negatives = upto[:, -1] - positives
    # Images above each positive and half of those beside it, twice; positives are P^2 / 2 of them, the rest is lost.
    passed = np.einsum("rg,rg->r", gained, upto[:, ranking.starts]) + np.einsum("rg,rg->r", gained, through)
    precision = np.cumsum(gained, axis=1)  # so far: positives at or above each score
    precision /= np.maximum(through, 1, out=through)  # where nothing was drawn so far, nothing is gained either
    with np.errstate(invalid="ignore", divide="ignore"):
        auroc = (positives * negatives + (positives**2 - passed) / 2) / (positives * negatives)
        average = np.einsum("rg,rg->r", gained, precision) / positives
    average[negatives == 0] = np.nan
    return auroc, average, positives


def _mean_area(found: Sequence[tuple[Floats, Floats, Floats]], metric: str, weights: Weights) -> Floats:
    """The mean of some classes' areas; NaN where there is no class."""
    if not found:
        return np.full(len(weights), np.nan)
    auroc, average, positives = (np.array(each) for each in zip(*found, strict=True))  # (classes, resamples) each
    if metric == "auroc_weighted":
        with np.errstate(invalid="ignore"):
            return (auroc * positives).sum(axis=0) / positives.sum(axis=0)
    return (auroc if metric.startswith("auroc") else average).mean(axis=0)


def _ranked(scored: Scored) -> list[int]:
    positives = scored.truth.sum(axis=0)
    return np.flatnonzero((positives > 0) & (positives < scored.known.sum(axis=0))).tolist()


def _per_image(scored: Scored, metric: str) -> tuple[Floats, Floats]:
    """What each image adds to a mean, and how much it weighs in it, (images,) each."""
    truth, known, scores = scored.truth, scored.known, scored.scores
    if metric == "accuracy":
        if scored.task == "multilabel":
            right = (((scores > THRESHOLD) & known) == truth).all(axis=1)
        else:
            right = scores.argmax(axis=1) == scored.labels
        return right.astype(np.float64), np.ones(len(truth))
    if scored.task == "multilabel":
        told = _surprise(np.where(truth, scores, 1 - scores)) if metric == "nll" else (scores - truth) ** 2
        return np.where(known, told, 0.0).sum(axis=1), known.sum(axis=1).astype(np.float64)
    if metric == "nll":
        return _surprise(scores[truth]), np.ones(len(truth))
    squares = (scores - truth) ** 2
    return (squares[:, 1] if scored.task == "binary" else squares.sum(axis=1)), np.ones(len(truth))


def _surprise(probabilities: Floats) -> Floats:
    return -np.log(np.clip(probabilities, SMALLEST_PROBABILITY, 1.0))


def _mean(values: Floats, counted: Floats, weights: Weights) -> Floats:
    with np.errstate(invalid="ignore"):
        return weights @ values / (weights @ counted)


def _by_confusion(labels: Whole, predicted: Whole, classes: int, metric: str, weights: Weights) -> Floats:
    """Metrics of the table of true and predicted classes."""
    place = labels * classes + predicted
    order = np.argsort(place, kind="stable")
    cells, firsts = np.unique(place[order], return_index=True)
    table = np.zeros((len(weights), classes**2))
    table[:, cells] = np.add.reduceat(weights[:, order], firsts, axis=1)
    table = table.reshape(-1, classes, classes)  # (resamples, true, predicted)
    if metric in ("kappa", "quadratic_kappa"):
        distance = np.subtract.outer(np.arange(classes), np.arange(classes))
        return _kappa(table, (distance != 0).astype(float) if metric == "kappa" else distance.astype(float) ** 2)
    return _overlap(table, np.bincount(labels, minlength=classes) > 0, metric)


def _overlap(table: Floats, present: Truth, metric: str) -> Floats:
    both = np.einsum("rcc->rc", table)[:, present]
    true, predicted = table.sum(axis=2)[:, present], table.sum(axis=1)[:, present]
    with np.errstate(invalid="ignore"):
        match metric:
            case "precision_macro":
                values = both / np.maximum(predicted, 1)
            case "f1_macro":
                values = 2 * both / (true + predicted)
            case _:
                values = both / true
    return np.where(true > 0, values, np.nan).mean(axis=1)


def _kappa(table: Floats, cost: Floats) -> Floats:
    total = table.sum(axis=(1, 2))
    expected = np.einsum("rc,rd,cd->r", table.sum(axis=2), table.sum(axis=1), cost) / total
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa = 1 - np.einsum("rcd,cd->r", table, cost) / expected
    return np.where(expected > 0, kappa, np.nan)
