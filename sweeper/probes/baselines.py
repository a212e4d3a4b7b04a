"""What a similarity would read without any relation: on random features of the same shape, and on shuffled images.

Any similarity of two lists of layers will do; none is computed here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from sweeper.probes.samples import Features

Similarity = Callable[[Sequence[Features], Sequence[Features]], npt.NDArray[np.float64]]
"""Of every pair of layers, (len(xs), len(ys)), as `cka_pairs`, `cca_pairs` and `procrustes_pairs` are."""


@dataclass(frozen=True, kw_only=True)
class Null:
    """A similarity of every pair of layers beside what it reads once the images of one side are shuffled."""

    value: npt.NDArray[np.float64]
    """(len(xs), len(ys))"""
    low: npt.NDArray[np.float64]
    """Lower end of the band of shuffled values."""
    median: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    """Upper end of the band."""
    p_value: npt.NDArray[np.float64]
    """(1 + shuffled values at least as high) / (1 + permutations), one-sided (Phipson & Smyth 2010)."""


def gaussian_values(
    similarity: Similarity, xs: Sequence[Features], ys: Sequence[Features], *, draws: int, seed: int
) -> npt.NDArray[np.float64]:
    """The similarity of independent standard normal features of the layers' shapes, (draws, len(xs), len(ys)).

    google/svcca's baseline; what of a value the shapes alone explain. Only the shapes of `xs` and `ys` are read.
    """
    if draws < 1:
        raise ValueError(f"draws={draws} of random features; a baseline needs at least 1")
    values = []
    for draw in range(draws):
        generator = np.random.default_rng((seed, draw))
        sides = [[generator.standard_normal(tuple(layer.shape)) for layer in side] for side in (xs, ys)]
        values.append(similarity(*sides))
    return np.stack(values)


def permutation_null(
    similarity: Similarity,
    xs: Sequence[Features],
    ys: Sequence[Features],
    *,
    permutations: int,
    seed: int,
    band: float = 0.95,
) -> Null:
    """The similarity with its permutation null: the same layers, the images of all `ys` in a random order.

    Rows must be exchangeable, as images are. Positions of one map are not, so layers of positions have no such null.
    A value that is NaN has a band and a p-value of NaN. Permutations depend on the seed and the number of images only.

    Args:
        permutations: >= 1; the smallest possible p-value is 1 / (1 + permutations).
        band: share of the shuffled values between `low` and `high`, in (0, 1); its ends are numpy's linear quantiles.

    Raises:
        ValueError: `permutations` or `band` out of range, layers of different images, or as the similarity does.
    """
    if permutations < 1:
        raise ValueError(f"permutations={permutations}; a null needs at least 1, and 999 for p-values down to 0.001")
    if not 0 < band < 1:
        raise ValueError(f"band={band} of the permutation null must be above 0 and below 1")
    images = {len(layer) for layer in (*xs, *ys)}
    if len(images) != 1:
        raise ValueError(f"the layers have {sorted(images)} images; a permutation needs the same images in all")
    value = similarity(xs, ys)
    shuffled = np.stack([similarity(xs, _shuffled(ys, (seed, draw))) for draw in range(permutations)])
    low, median, high = np.quantile(shuffled, [(1 - band) / 2, 0.5, (1 + band) / 2], axis=0)
    # The identity, drawn by chance, may differ from the value by rounding: that is a tie.
    ties = 1e-12 * np.maximum(1, np.abs(value))
    p_value = (1 + (shuffled >= value - ties).sum(axis=0)) / (1 + permutations)
    known = ~np.isnan(value)
    return Null(value=value, low=low, median=median, high=high, p_value=np.where(known, p_value, np.nan))


def _shuffled(layers: Sequence[Features], seed: tuple[int, int]) -> list[Features]:
    order = np.random.default_rng(seed).permutation(len(layers[0]))
    return [layer[torch.from_numpy(order)] if isinstance(layer, torch.Tensor) else layer[order] for layer in layers]
