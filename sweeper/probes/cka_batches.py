"""CKA from batches of images, in any order: minibatch CKA, and the mean over batches of Matsoukas et al. 2022.

Both are other estimators than `cka` of all images at once, which needs the features of all images in one place.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sweeper.probes.cka import hsic_pairs
from sweeper.probes.samples import Features


@dataclass(frozen=True, kw_only=True)
class BatchSums:
    """What batches of images leave behind: sums over the batches, float64. Plain arrays, fit to travel."""

    batches: int
    cross: npt.NDArray[np.float64]
    """(layers of xs, layers of ys), unbiased HSIC."""
    own_x: npt.NDArray[np.float64]
    """(layers of xs,), unbiased HSIC of each layer with itself."""
    own_y: npt.NDArray[np.float64]
    """(layers of ys,)"""
    cka: npt.NDArray[np.float64]
    """(layers of xs, layers of ys), debiased CKA; NaN where a layer told the images of any batch not apart."""


def batch_sums(xs: Sequence[Features], ys: Sequence[Features], *, grams: bool = False) -> BatchSums:
    """The sums of one batch: `xs` and `ys` are layers' features of its images, (images, features) each.

    Args:
        grams: the layers are Gram matrices, (images, images), not features.

    Raises:
        ValueError: as `cka`; a batch of fewer than 4 images (as a last one may be) has no unbiased HSIC. Leave it out.
    """
    hsic = hsic_pairs(xs, ys, grams=grams)
    return BatchSums(batches=1, cross=hsic.cross, own_x=hsic.own_x, own_y=hsic.own_y, cka=hsic.cka())


def merged(parts: Iterable[BatchSums]) -> BatchSums:
    """The sums of all batches of the parts, which are of the same layers."""
    parts = list(parts)
    if not parts:
        raise ValueError("there are no batches to merge; CKA needs at least one of 4 images")
    shapes = {part.cross.shape for part in parts}
    if len(shapes) > 1:
        raise ValueError(f"the batches are of different layers: their sums have shapes {sorted(shapes)}")
    return BatchSums(
        batches=sum(part.batches for part in parts),
        cross=np.sum([part.cross for part in parts], axis=0),
        own_x=np.sum([part.own_x for part in parts], axis=0),
        own_y=np.sum([part.own_y for part in parts], axis=0),
        cka=np.sum([part.cka for part in parts], axis=0),
    )


def minibatch_cka(sums: BatchSums) -> npt.NDArray[np.float64]:
    """Minibatch CKA of every pair of layers, (layers of xs, layers of ys) (Nguyen et al. 2021, eq. 3 and 4).

    The mean over batches of the unbiased HSIC of each pair, over the root of the product of the layers' own means.
    Every batch counts the same, a smaller last one too: each HSIC is an unbiased estimate by itself. NaN in the row or
    column of a layer that told no images apart in any batch.
    """
    lengths = np.sqrt(np.outer(sums.own_x, sums.own_y))
    return sums.cross / np.where(lengths > 0, lengths, np.nan)


def batch_mean_cka(sums: BatchSums) -> npt.NDArray[np.float64]:
    """The mean over batches of debiased CKA of every pair of layers, (layers of xs, layers of ys).

    As Matsoukas et al. 2022 computed it, with batches of 64. A ratio per batch is not unbiased: the value depends on
    the size of the batches. NaN where a layer told the images of any batch not apart.
    """
    return sums.cka / sums.batches
