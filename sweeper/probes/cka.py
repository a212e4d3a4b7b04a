"""How alike two layers see the same images: linear CKA, debiased unless asked otherwise.

Features of all images come at once; `cka_batches` has the two estimators that go batch by batch. Nothing is pooled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from sweeper.probes.samples import Features, centred

Estimator = Literal["debiased", "biased"]

FEWEST_IMAGES: dict[Estimator, int] = {"debiased": 4, "biased": 2}
"""The unbiased HSIC divides by n (n - 3), the biased one by (n - 1)^2."""
COLUMNS = 4096
"""Features of a layer wider than it has images that are turned into float64 at a time: bounds the copy's memory."""
TILE = 2**23
"""Entries of all layers' Gram matrices that are held at a time (64 MiB)."""
_DIGITS = 1e-6
"""Share of its terms below which a layer's HSIC with itself is not taken from their difference: 6 of 16 digits gone."""


@dataclass(frozen=True, kw_only=True)
class Hsic:
    """HSIC of every pair of layers and of each layer with itself: CKA is their ratio."""

    cross: npt.NDArray[np.float64]
    """(layers of xs, layers of ys)"""
    own_x: npt.NDArray[np.float64]
    """(layers of xs,); 0 where a layer tells the images not apart."""
    own_y: npt.NDArray[np.float64]
    """(layers of ys,)"""

    def cka(self) -> npt.NDArray[np.float64]:
        """(layers of xs, layers of ys); NaN in the row or column of a layer that tells the images not apart."""
        lengths = np.sqrt(np.outer(self.own_x, self.own_y))
        return self.cross / np.where(lengths > 0, lengths, np.nan)


def cka(x: Features, y: Features, *, estimator: Estimator = "debiased") -> float:
    """Linear CKA of two layers' features of the same images (Kornblith et al. 2019).

    `debiased`: with the unbiased HSIC of Song et al. 2012, so its expectation does not grow with the number of
    features: at most 1, near 0 (or below) if unrelated. `biased`: in 0..1, and far above 0 for unrelated layers of few
    images (0.87 for 2000 features of 300 images). Unchanged by rotations, isotropic scaling and shifts of either side.

    NaN where one side tells the images not apart: the features are constant, or (debiased) a single image differs from
    all others, so that the side's HSIC with itself is zero. That is on purpose: a dead block is a finding about one
    block of one cell, not a reason to stop a probe over thousands.

    Args:
        x: (images, features), numpy or torch, any floating type and device; computed in float64.
        y: (images, other features), the same images in the same order.

    Raises:
        ValueError: not two-dimensional, different images, fewer than 4 of them (biased: 2), or a feature that is not
            finite.
    """
    return float(cka_pairs([x], [y], estimator=estimator)[0, 0])


def cka_pairs(
    xs: Sequence[Features], ys: Sequence[Features], *, estimator: Estimator = "debiased"
) -> npt.NDArray[np.float64]:
    """`cka` of every pair of layers, as (len(xs), len(ys)) with row i, column j = `cka(xs[i], ys[j])`.

    Whatever is not a pair's own is done once a layer, and once only where `ys` is the very list `xs`. Takes 8 x images
    x min(images, features) bytes a layer. Raises like `cka`, and for an empty list.
    """
    return hsic_pairs(xs, ys, estimator=estimator).cka()


def hsic_pairs(
    xs: Sequence[Features], ys: Sequence[Features], *, estimator: Estimator = "debiased", grams: bool = False
) -> Hsic:
    """Linear HSIC of every pair of layers: unbiased (Song et al. 2012, eq. 5) or biased (Gretton et al. 2005).

    The unbiased one is the sum of products of the U-centred Gram matrices' entries (Szekely & Rizzo 2014) over
    n (n - 3), the biased one that of the centred ones over (n - 1)^2, n images.

    Args:
        grams: the layers are Gram matrices X X^T, (images, images) each, centred or not, in place of features. A common
            shift of the features that is large against their spread has already cost the products their digits.

    Raises:
        ValueError: as `cka`; for an empty list; and for a Gram matrix that is not symmetric.
    """
    make: Callable[[Features], _Layer] = _from_gram if grams else _from_features
    left = _layers(xs, make, estimator)
    same = ys is xs
    layers = left if same else left + _layers(ys, make, estimator)
    images = [len(layer.diagonal) for layer in layers]
    if images[0] != images[-1]:
        raise ValueError(
            f"CKA needs features of the same images: one side has {images[0]} images, the other {images[-1]}"
        )
    layers = [layer.to(layers[0].diagonal.device) for layer in layers]
    rows, columns = slice(len(xs)), slice(0 if same else len(xs), None)
    products = _products(layers, rows, columns, estimator)
    products /= images[0] * (images[0] - 3) if estimator == "debiased" else (images[0] - 1) ** 2
    own = products.diagonal()
    return Hsic(cross=products[rows, columns], own_x=own[rows], own_y=own[columns])


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """A layer's centred features, (images, features); or, where that is smaller, their Gram matrix."""

    values: torch.Tensor
    gram: bool
    diagonal: torch.Tensor
    """(images,), of the Gram matrix."""
    size: float
    """Trace of the Gram matrix before anything was taken from it: what its rounding errors are measured by."""

    def to(self, device: torch.device) -> "_Layer":
        values, diagonal = self.values.to(device), self.diagonal.to(device)
        return _Layer(values=values, gram=self.gram, diagonal=diagonal, size=self.size)

    def rows(self, first: int, last: int, out: torch.Tensor) -> None:
        """Writes the Gram matrix's rows from `first` to before `last`, from column `first` on."""
        if self.gram:
            out.copy_(self.values[first:last, first:])
        else:
            torch.mm(self.values[first:last], self.values[first:].T, out=out)


def _layers(given: Sequence[Features], make: Callable[[Features], _Layer], estimator: Estimator) -> list[_Layer]:
    if not len(given):
        raise ValueError("CKA needs at least one layer on each side, one list is empty")
    images = [len(layer) for layer in given]
    if len(set(images)) > 1:
        raise ValueError(f"CKA needs features of the same images: the layers have {images} images")
    if images[0] < FEWEST_IMAGES[estimator]:
        raise ValueError(f"{estimator} CKA needs at least {FEWEST_IMAGES[estimator]} images, there are {images[0]}")
    return [make(layer) for layer in given]


def _from_features(given: Features) -> _Layer:
    features = torch.as_tensor(given).detach()
    if features.ndim == 2 and features.shape[1] > len(features):
        values = torch.zeros(len(features), len(features), dtype=torch.float64, device=features.device)
        for part in map(centred, features.split(COLUMNS, dim=1)):
            values.addmm_(part, part.T)
        return _checked(values, values.diagonal().clone(), gram=True)
    values = centred(features)
    return _checked(values, torch.linalg.vecdot(values, values), gram=False)


def _from_gram(given: Features) -> _Layer:
    gram = torch.as_tensor(given).detach().double()
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1]:
        raise ValueError(f"a Gram matrix has shape {tuple(gram.shape)}, not (images, images)")
    if (gram - gram.T).abs().max() > 1e-5 * gram.abs().max():  # that of float32 products is symmetric to 1e-6
        raise ValueError("a Gram matrix is not symmetric; it is the features times their own transpose")
    size = float(gram.diagonal().sum())
    means = gram.mean(dim=0)
    gram = gram - means[:, None] - means[None, :] + means.mean()
    return _checked(gram, gram.diagonal().clone(), gram=True, size=size)


def _checked(values: torch.Tensor, diagonal: torch.Tensor, *, gram: bool, size: float | None = None) -> _Layer:
    trace = float(diagonal.sum())
    if not np.isfinite(trace):
        raise ValueError("the features hold values that are not finite; look for a run that diverged")
    return _Layer(values=values, gram=gram, diagonal=diagonal, size=trace if size is None else size)


def _products(layers: Sequence[_Layer], rows: slice, columns: slice, estimator: Estimator) -> npt.NDArray[np.float64]:
    """Sums of products of the (U-)centred Gram matrices' entries, (layers, layers), by the cheaper of two ways.

    Only rows x columns and the diagonal are filled.
    """
    images, widths = len(layers[0].diagonal), np.array([layer.values.shape[1] for layer in layers])
    wanted = np.eye(len(layers), dtype=bool)
    wanted[rows, columns] = True
    pairs = [(i, j) for i, j in np.argwhere(wanted) if i <= j or not wanted[j, i]]
    by_images = images**2 * (widths.sum() + len(layers) ** 2) / 2
    by_features = images * sum(widths[i] * widths[j] for i, j in pairs)
    products = None
    if by_features < by_images and not any(layer.gram for layer in layers):
        products = _by_features(layers, pairs, estimator)
    if products is None:
        products = _by_images(layers, estimator)
    return told_apart(products, [layer.size for layer in layers], images)


def told_apart(products: npt.NDArray[np.float64], sizes: Sequence[float], images: int) -> npt.NDArray[np.float64]:
    """The products, a diagonal entry that is rounding only set to 0: divided by itself it would read as a similarity.

    Args:
        sizes: of the layers, the traces of their Gram matrices.
    """
    own = np.diag(products)
    rounding = images * np.finfo(np.float64).eps * np.array(sizes)
    np.fill_diagonal(products, np.where(own > rounding**2, own, 0.0))
    return products


def _by_images(layers: Sequence[_Layer], estimator: Estimator) -> npt.NDArray[np.float64]:
    """From the upper triangle of the Gram matrices, a band of rows of all layers at a time."""
    images = len(layers[0].diagonal)
    products = torch.zeros(len(layers), len(layers), dtype=torch.float64, device=layers[0].diagonal.device)
    first = 0
    while first < images:
        last = min(images, first + max(1, TILE // (len(layers) * (images - first))))
        band = products.new_empty(len(layers), last - first, images - first)
        for layer, tile in zip(layers, band, strict=True):
            layer.rows(first, last, tile)
            if estimator == "debiased":
                _u_centre(tile, layer.diagonal, first)
            tile[:, : last - first] *= 0.5**0.5  # the square on the diagonal holds its entries twice, the rest once
        flat = band.flatten(1)
        products.addmm_(flat, flat.T, alpha=2.0)
        first = last
    return products.cpu().numpy()


def _u_centre(tile: torch.Tensor, diagonal: torch.Tensor, first: int) -> None:
    """Makes rows of a centred Gram matrix, from column `first` on, those of the U-centred one, in place.

    A centred Gram matrix's rows sum to zero, so without the diagonal the i-th row sums to minus its diagonal entry.
    """
    images = len(diagonal)
    means = diagonal / (images - 2)
    tile += means[first : first + len(tile), None] - diagonal.sum() / ((images - 1) * (images - 2))
    tile += means[None, first:]
    tile.diagonal().zero_()


def _by_features(
    layers: Sequence[_Layer], pairs: Sequence[tuple[int, int]], estimator: Estimator
) -> npt.NDArray[np.float64] | None:
    """From the covariances of the layers' features; None as of `from_covariances`."""
    whole = np.full((len(layers), len(layers)), np.nan)
    for i, j in pairs:
        covariance = layers[i].values.T @ layers[j].values
        whole[i, j] = whole[j, i] = float(covariance.square_().sum())
    return from_covariances(whole, torch.stack([layer.diagonal for layer in layers]), estimator)


def from_covariances(
    whole: npt.NDArray[np.float64], diagonals: torch.Tensor, estimator: Estimator
) -> npt.NDArray[np.float64] | None:
    """Sums of products of (U-)centred Gram matrices' entries: <K, L> = ||X^T Y||_F^2, less what U-centring takes out.

    None where a layer's own sum is a small difference of large terms (one image far from all others): its digits are
    in the Gram matrix only.

    Args:
        whole: (layers, layers), ||X^T Y||_F^2 of centred features, NaN of pairs that are not asked for.
        diagonals: (layers, images), of the centred Gram matrices.
    """
    if estimator == "biased":
        return whole
    images, sums = diagonals.shape[1], diagonals.sum(dim=1)
    taken = diagonals @ diagonals.T * (images / (images - 2)) - torch.outer(sums, sums) / ((images - 1) * (images - 2))
    products = whole - taken.cpu().numpy()
    return products if (np.diag(products) >= _DIGITS * np.diag(whole)).all() else None
