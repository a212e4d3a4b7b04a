"""How alike two layers see the same images: debiased linear CKA.

The biased estimator is not offered (it reads 0.15 for unrelated features of 300 images), nor means over batches, which
are other estimators; features of all images come as one array.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

FEWEST_IMAGES = 4
"""The unbiased HSIC divides by n (n - 3)."""
COLUMNS = 4096
"""Features that are turned into float64 at a time, which bounds the memory of a copy."""

Features = npt.NDArray[np.floating] | torch.Tensor


def cka(x: Features, y: Features) -> float:
    """Debiased linear CKA of two layers' features of the same images: at most 1, near 0 (or below) if unrelated.

    Linear CKA of Kornblith et al. 2019 with the unbiased HSIC of Song et al. 2012, so its expectation does not grow
    with the number of features. Unchanged by rotations, isotropic scaling and shifts of either side's features.

    NaN where one side tells the images not apart: the features are constant, or a single image differs from all
    others, so that the side's unbiased HSIC with itself is zero. That is on purpose: a dead block is a finding about
    one block of one cell, not a reason to stop a probe over thousands.

    Args:
        x: (images, features), numpy or torch, any floating type and device; computed in float64.
        y: (images, other features), the same images in the same order.

    Raises:
        ValueError: not two-dimensional, different images, fewer than 4 of them, or a feature that is not finite.
    """
    return float(cka_matrix([x], [y])[0, 0])


def cka_matrix(xs: Sequence[Features], ys: Sequence[Features]) -> npt.NDArray[np.float64]:
    """`cka` of every pair of layers, as (len(xs), len(ys)) with row i, column j = `cka(xs[i], ys[j])`.

    Each layer's Gram matrix is made once, and once only where `ys` is the very list `xs`; then one matrix product gives
    all pairs. Takes 8 x images^2 bytes a layer. Raises like `cka`, and for an empty list.
    """
    rows = _directions(xs)  # (layers of xs, images^2)
    columns = rows if ys is xs else _directions(ys)  # (layers of ys, images^2)
    if rows.shape[1] != columns.shape[1]:
        first, second = (round(each.shape[1] ** 0.5) for each in (rows, columns))
        raise ValueError(f"CKA needs features of the same images: one side has {first} images, the other {second}")
    return (rows @ columns.to(rows.device).T).cpu().numpy()


def _directions(layers: Sequence[Features]) -> torch.Tensor:
    """Every layer's U-centred Gram matrix, flattened and scaled to length 1: CKA is the product of two such rows."""
    if not len(layers):
        raise ValueError("CKA needs at least one layer on each side, one list is empty")
    grams = [_centred_gram(layer) for layer in layers]
    if len({len(gram) for gram in grams}) > 1:
        raise ValueError(
            f"CKA needs features of the same images: the layers have {[len(gram) for gram in grams]} images"
        )
    return torch.stack([_direction(gram).flatten().to(grams[0].device) for gram in grams])


def _centred_gram(layer: Features) -> torch.Tensor:
    """(images, images) float64 Gram matrix of the features after each is centred over the images.

    U-centring would take out a common shift as well, but only after the products have lost its digits.
    """
    features = torch.as_tensor(layer).detach()
    if features.ndim != 2:
        raise ValueError(f"features have shape {tuple(features.shape)}, CKA needs (images, features): flatten(1) them")
    if len(features) < FEWEST_IMAGES:
        raise ValueError(f"debiased CKA needs at least {FEWEST_IMAGES} images, there are {len(features)}")
    gram = torch.zeros(len(features), len(features), dtype=torch.float64, device=features.device)
    for part in features.split(COLUMNS, dim=1):
        part = part.double()
        part = part - part.mean(dim=0)
        gram += part @ part.T
    if not torch.isfinite(gram).all():
        raise ValueError("the features hold values that are not finite; look for a run that diverged")
    return gram


def _direction(gram: torch.Tensor) -> torch.Tensor:
    """The Gram matrix U-centred (Song et al. 2012 in the form of Szekely & Rizzo 2014), scaled to length 1; else NaN.

    The unbiased HSIC of two layers is the sum of the products of their U-centred entries over n (n - 3), which cancels.
    """
    images = len(gram)
    whole = torch.linalg.matrix_norm(gram)
    gram = gram - torch.diag(gram.diagonal())
    means = gram.sum(dim=0) / (images - 2)
    centred = gram - means[:, None] - means[None, :] + gram.sum() / ((images - 1) * (images - 2))
    centred.fill_diagonal_(0.0)
    length = torch.linalg.matrix_norm(centred)
    # What the sums above leave of an exact zero is rounding; divided by itself it would read as a similarity.
    rounding = images * torch.finfo(torch.float64).eps * whole
    return centred / torch.where(length > rounding, length, torch.nan)
