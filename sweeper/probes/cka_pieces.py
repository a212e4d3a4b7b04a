"""CKA of all images whose features come in pieces, in memory that does not grow with the number of images.

The estimator is that of `cka`; the estimates by batches of `cka_batches` are others. Gram matrices are never made.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from sweeper.probes.cka import FEWEST_IMAGES, Estimator, from_covariances, told_apart
from sweeper.probes.samples import Features

ENOUGH = 4
"""Images a feature from which covariances cost less than Gram matrices, and are used here."""

Pieces = Callable[[], Iterator[tuple[Features, ...]]]
"""Starts again: two layers' features of the same images, (images, features) each, piece by piece."""


def cka_of_pieces(pieces: Pieces, *, estimator: Estimator = "debiased") -> float | None:
    """`cka` of two layers, in two passes: for the means, then for the covariances. NaN as there.

    None where the features of all images are needed at once: of fewer than 4 images a feature, or of a layer in which
    one image lies so far from all others that the digits are in the Gram matrix only (see `from_covariances`). Takes
    8 x (features x features of three pairs) bytes, and 16 an image.

    Raises:
        ValueError: as `cka`.
    """
    shifts, images = _means(pieces)
    if images < FEWEST_IMAGES[estimator]:
        raise ValueError(f"{estimator} CKA needs at least {FEWEST_IMAGES[estimator]} images, there are {images}")
    if images < ENOUGH * max(len(shift) for shift in shifts):
        return None
    covariances, diagonals = _covariances(pieces, shifts)
    whole = np.array([[float(each.square().sum()) for each in row] for row in covariances])
    products = from_covariances(whole, diagonals, estimator)
    if products is None:
        return None
    own = told_apart(products, [float(each.sum()) for each in diagonals], images)
    length = np.sqrt(own[0, 0] * own[1, 1])
    return float(own[0, 1] / length) if length > 0 else float("nan")


def _means(pieces: Pieces) -> tuple[list[torch.Tensor], int]:
    """Of each layer the mean of each feature, (features,), float64, and the number of images.

    Sums are of what differs from the first image, so that a feature that never changes has its very value for a mean.
    """
    first: list[torch.Tensor] = []
    sums: list[torch.Tensor] = []
    images = 0
    for piece in pieces():
        layers = [torch.as_tensor(each).detach() for each in piece]
        _check(layers)
        if not first:
            first = [each[0].double() for each in layers]
            sums = [torch.zeros_like(each) for each in first]
        for layer, start, total in zip(layers, first, sums, strict=True):
            total += (layer.double() - start).sum(dim=0)
        images += len(layers[0])
    if not images:
        raise ValueError("CKA needs features of at least one piece of images, there are none")
    if not all(bool(torch.isfinite(each).all()) for each in sums):
        raise ValueError("the features hold values that are not finite; look for a run that diverged")
    return [start + total / images for start, total in zip(first, sums, strict=True)], images


def _covariances(pieces: Pieces, means: list[torch.Tensor]) -> tuple[list[list[torch.Tensor]], torch.Tensor]:
    """X^T X, X^T Y and Y^T Y of the centred features, and the diagonals of their Gram matrices, (2, images)."""
    found = [[torch.zeros(len(a), len(b), dtype=torch.float64) for b in means] for a in means]
    diagonals: list[torch.Tensor] = []
    for piece in pieces():
        layers = [torch.as_tensor(each).detach().double() - mean for each, mean in zip(piece, means, strict=True)]
        for row, column in ((0, 0), (0, 1), (1, 1)):
            found[row][column].addmm_(layers[row].T, layers[column])
        diagonals.append(torch.stack([torch.linalg.vecdot(each, each) for each in layers]))
    found[1][0] = found[0][1]
    return found, torch.cat(diagonals, dim=1)


def _check(layers: list[torch.Tensor]) -> None:
    for layer in layers:
        if layer.ndim != 2 or not layer.numel():
            raise ValueError(f"features have shape {tuple(layer.shape)}, a similarity needs (images, features)")
    if len(layers[0]) != len(layers[1]):
        one, other = (len(each) for each in layers)
        raise ValueError(f"CKA needs features of the same images: one side has {one} images, the other {other}")
