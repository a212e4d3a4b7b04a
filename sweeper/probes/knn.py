"""How well the nearest training images, by a layer's features, tell an image's class.

No features are made and no metric is computed here: out come class scores that `finetune.metrics.score` can judge.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

SIMILARITIES = 2**26
"""Similarities that are held at a time (256 MB in float32); queries are taken in chunks of this many over a piece."""

Features = npt.NDArray[np.floating] | torch.Tensor
Pieces = Callable[[], Iterator[Features]]
Labels = npt.NDArray[np.integer] | npt.NDArray[np.floating] | torch.Tensor


def knn_scores(
    bank: Features, bank_labels: Labels, queries: Features, *, k: int, temperature: float, classes: int
) -> npt.NDArray[np.float64]:
    """Each query's share of votes per class, (queries, classes), rows summing to 1 where an image has one class.

    The k bank images with the highest cosine similarity vote for their own class with weight exp(similarity /
    temperature) (Wu et al. 2018, as Matsoukas et al. 2022 use it). Similarities are computed in the features' own
    precision, at least float32.

    A bank smaller than k votes as a whole. Of bank images equally similar at the k-th place, which ones vote is left to
    `torch.topk`. A zero vector has no direction: as a bank image its similarity is 0 to everything; a query of zeros
    is as near to every bank image, so the whole bank votes and its scores are the bank's class shares.

    Images with any number of labels vote on each class, for it or against it; where it is not known they abstain, and
    where all neighbours do, the score is the bank's share of the class.

    Args:
        bank: (bank images, features), numpy or torch.
        bank_labels: (bank images,), classes 0..classes-1; or (bank images, classes): 1, 0, or NaN where not known.
        queries: (queries, features).
        k: neighbours, >= 1.
        temperature: > 0; 0.07 in the first paper, 0.1 in the second.
        classes: number of classes, also those that the bank does not hold.

    Raises:
        ValueError: an empty bank, shapes that do not fit, a label, `k` or `temperature` out of range, a class of which
            no bank image tells whether it is of it, or a feature that is not finite.
    """
    return knn_scores_of_pieces(
        lambda: iter([bank]), bank_labels, queries, k=k, temperature=temperature, classes=classes
    )


def knn_scores_of_pieces(
    bank: Pieces, bank_labels: Labels, queries: Features, *, k: int, temperature: float, classes: int
) -> npt.NDArray[np.float64]:
    """`knn_scores` with a bank that comes piece by piece: of it, no more than a piece is held.

    Args:
        bank: starts again at each call; (images, features) a piece.
        bank_labels: of all images, in the order in which they come.
    """
    if k < 1:
        raise ValueError(f"k = {k} neighbours; k-NN needs at least 1")
    if not temperature > 0:
        raise ValueError(f"temperature {temperature} of the k-NN probe must be greater than 0")
    asked = _features(queries, "queries")
    labels = torch.tensor(np.asarray(bank_labels))
    labels = labels.double() if labels.ndim == 2 else labels.long()
    shares = []
    for chunk in asked.split(max(1, SIMILARITIES // k)):
        values, places, images = _nearest(bank(), chunk, k)
        _check_labels(labels, images, classes)
        aimless = (chunk == 0).all(dim=1, keepdim=True).to(values.device)
        shares.append(_shares(labels.to(values.device), values / temperature, places, aimless, classes))
    return torch.cat(shares).cpu().numpy()


def _nearest(bank: Iterator[Features], queries: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor, int]:
    """How much less similar than the nearest each query's neighbours are, float64, and their places in the bank.

    Both (queries, neighbours), the nearest first; and how many images the bank has.
    """
    values, places, images = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.long), 0
    for piece in bank:
        own = _features(piece, "bank")
        if own.shape[1] != queries.shape[1]:
            raise ValueError(f"the bank has {own.shape[1]} features an image, the queries have {queries.shape[1]}")
        dtype = torch.promote_types(own.dtype, queries.dtype)
        sides = [functional.normalize(each.to(own.device, dtype), dim=1) for each in (queries, own)]
        chunks = sides[0].split(max(1, SIMILARITIES // max(1, len(own))))
        found = [(chunk @ sides[1].T).topk(min(k, len(own)), dim=1) for chunk in chunks]
        values = torch.cat([values.to(own.device, dtype), torch.cat([each.values for each in found])], dim=1)
        places = torch.cat([places.to(own.device), torch.cat([each.indices for each in found]) + images], dim=1)
        values, order = values.topk(min(k, values.shape[1]), dim=1)
        places, images = places.gather(1, order), images + len(own)
    if not images:
        raise ValueError("the bank of the k-NN probe is empty; it needs at least one image")
    return (values - values[:, :1]).double(), places, images


def _shares(
    labels: torch.Tensor, logits: torch.Tensor, places: torch.Tensor, aimless: torch.Tensor, classes: int
) -> torch.Tensor:
    """(queries, classes) float64 shares of votes.

    Args:
        logits: of the neighbours' weights, less that of the nearest: a query's shares do not change with a common
            factor, and without it a small temperature overflows.
        places: of the neighbours in the bank.
        aimless: (queries, 1), whether a query is a zero vector.
    """
    if labels.ndim == 2:
        each = [_ballot(label, places, logits.exp()) for label in labels.T]
        shares = torch.stack(each, dim=1)  # (queries, classes)
        return torch.where(aimless | shares.isnan(), labels.nanmean(dim=0), shares)
    votes = torch.zeros(len(places), classes, dtype=torch.float64, device=places.device)
    votes.scatter_add_(1, labels[places], logits.exp())
    shares = votes / votes.sum(dim=1, keepdim=True)
    return torch.where(aimless, torch.bincount(labels, minlength=classes).double() / len(labels), shares)


def _ballot(label: torch.Tensor, neighbours: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Each query's share of votes for one class, (queries,); NaN where all neighbours abstain.

    Args:
        label: (bank images,): 1, 0, or NaN.
        neighbours: (queries, k), places in the bank.
        weights: (queries, k), of their votes.
    """
    told = label[neighbours]
    weights = weights.masked_fill(told.isnan(), 0.0)
    return (weights * told.nan_to_num(0.0)).sum(dim=1) / weights.sum(dim=1)


def _features(features: Features, name: str) -> torch.Tensor:
    features = torch.as_tensor(features).detach()
    if features.ndim != 2:
        raise ValueError(f"the {name} have shape {tuple(features.shape)}, k-NN needs (images, features)")
    if not torch.isfinite(features).all():
        raise ValueError(f"the {name} hold features that are not finite; look for a run that diverged")
    return features.to(torch.promote_types(features.dtype, torch.float32))


def _check_labels(labels: torch.Tensor, images: int, classes: int) -> None:
    if labels.shape not in ((images,), (images, classes)):
        raise ValueError(f"the bank has {images} images but labels of shape {tuple(labels.shape)}")
    if labels.ndim == 2:
        _check_matrix(labels)
    elif labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"the bank's labels run from {labels.min()} to {labels.max()}, the classes are 0..{classes - 1}"
        )


def _check_matrix(labels: torch.Tensor) -> None:
    if not (labels.isnan() | (labels == 0) | (labels == 1)).all():
        raise ValueError("the bank's labels of several classes hold something else than 1, 0 and NaN")
    if (silent := labels.isnan().all(dim=0)).any():
        raise ValueError(f"no bank image tells whether it is of class {int(silent.int().argmax())}")
