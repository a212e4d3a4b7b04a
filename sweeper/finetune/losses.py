"""What training makes small: weighted cross-entropy, one-vs-rest sigmoids and focal loss, as sums and their divisors.

Sums, so that the pieces of a batch and the processes of a group come to what torch's mean over the whole batch is.
The loss of images with any number of labels is `bce`; labels that are not known are left out of its sum.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sweeper.cell import Recipe
from sweeper.metric import Task


@dataclass(frozen=True, kw_only=True, eq=False)
class Loss:
    """A recipe's loss on one device."""

    name: str
    weights: Tensor | None
    """float32 (classes,), of the classes, or of the positives of each class for `bce`."""
    gamma: float
    """Of `focal`."""

    def total(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The sum over the images of their losses, each weighted; divided by `mass` it is the loss.

        Args:
            logits: (images, classes).
            labels: int64 (images,), or of a multi-label set (images, classes): 1, 0, or NaN where not known.
        """
        weights = None if self.weights is None else self.weights.to(logits)
        if labels.ndim == 2:
            return _masked(logits, labels, weights)
        match self.name:
            case "bce":
                told = (labels[:, None] == torch.arange(logits.shape[1], device=labels.device)).to(logits.dtype)
                summed = F.binary_cross_entropy_with_logits(logits, told, pos_weight=weights, reduction="sum")
                return summed / logits.shape[1]
            case "focal":
                return _focal(logits, labels, self.gamma)
            case _:
                return F.cross_entropy(logits, labels, weight=weights, reduction="sum")

    def mass(self, labels: Tensor) -> Tensor | int:
        """What the sum over images with these labels is divided by: their weights, or their number.

        As torch's `CrossEntropyLoss(weight)`; `BCEWithLogitsLoss(pos_weight)` divides by the number alone.
        """
        if self.weights is None or self.name == "bce":
            return len(labels)
        return self.weights[labels].sum()

    def mean(self, logits: np.ndarray, labels: np.ndarray) -> float:
        """The loss of all these images, in float64.

        Args:
            logits: float64 (images, classes).
            labels: as `total` takes them.
        """
        here = Loss(name=self.name, weights=None if self.weights is None else self.weights.cpu(), gamma=self.gamma)
        told = torch.tensor(labels)
        return here.total(torch.from_numpy(logits), told).item() / float(here.mass(told))


def make_loss(recipe: Recipe, labels: np.ndarray, classes: int, device: torch.device) -> Loss:
    """The recipe's loss, its class weights made from the training part's labels where they are `balanced`.

    Raises:
        ValueError: when there is not one weight a class, a class is to be balanced that has no training image, or the
            loss is not one of images with several labels, which these are.
    """
    if labels.ndim == 2 and recipe.loss != "bce":
        raise ValueError(f"loss '{recipe.loss}' is of images with one label each, these have any number; use 'bce'")
    match recipe.class_weights:
        case "none":
            weights = None
        case "balanced":
            weights = torch.tensor(_balanced(labels, classes), dtype=torch.float32, device=device)
        case given:
            if len(given) != classes:
                raise ValueError(f"class_weights={given} has {len(given)} numbers for {classes} classes; give one each")
            weights = torch.tensor(given, dtype=torch.float32, device=device)
    return Loss(name=recipe.loss, weights=weights, gamma=recipe.focal_gamma)


def probabilities(logits: np.ndarray, loss: str, task: Task = "multiclass") -> np.ndarray:
    """What logits of a network that was trained with this loss say: class probabilities, each row summing to 1.

    Of `bce` they are the classes' sigmoids divided by their sum, which ranks the classes of an image as the sigmoids
    do; of the other losses the softmax. In a multi-label task they are the sigmoids, whose sum may be anything.

    Args:
        logits: float64 (images, classes).
    """
    found = torch.from_numpy(logits)
    if task == "multilabel":
        return found.sigmoid().numpy()
    if loss == "bce":
        found = F.logsigmoid(found)  # the softmax of logarithms divides by the sum, and no sum can underflow to 0
    return found.softmax(dim=1).numpy()


def _focal(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """The sum of -(1 - p)^gamma ln p, p the softmax of the true class (Lin et al. 2017, equation 4).

    For two classes it is their sigmoid of the difference of the logits.
    """
    logarithm = F.log_softmax(logits, dim=1).gather(1, labels[:, None])  # (images, 1)
    rest = (-torch.expm1(logarithm)).clamp_min(torch.finfo(logits.dtype).tiny)  # at 0 a power below 1 has no slope
    return -(rest**gamma * logarithm).sum()


def _masked(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """The sum over the labels that are known, divided by the number of classes: the U-Ignore of Irvin et al. 2019."""
    known = ~labels.isnan()
    told = labels.nan_to_num(0.0).to(logits)
    summed = F.binary_cross_entropy_with_logits(
        logits, told, weight=known.to(logits), pos_weight=weights, reduction="sum"
    )
    return summed / logits.shape[1]


def _balanced(labels: np.ndarray, classes: int) -> np.ndarray:
    """Images / (classes x images of the class), (classes,); of a label matrix negatives / positives of each class."""
    if labels.ndim == 2:
        return _balanced_positives(labels)
    counts = np.bincount(labels, minlength=classes)
    if not counts.all():
        raise ValueError(
            f"class_weights='balanced': class {int(np.argmin(counts))} has no image among the {len(labels)} of the "
            "training part; give one number a class"
        )
    return len(labels) / (classes * counts)


def _balanced_positives(labels: np.ndarray) -> np.ndarray:
    """Weights with which the positives of a class count as much as its negatives, (classes,)."""
    positives, negatives = (labels == 1).sum(axis=0), (labels == 0).sum(axis=0)
    for there, kind in ((positives, "positive"), (negatives, "negative")):
        if not there.all():
            raise ValueError(
                f"class_weights='balanced': class {int(np.argmin(there))} has no {kind} image among the {len(labels)} "
                "of the training part; give one number a class"
            )
    return negatives / positives
