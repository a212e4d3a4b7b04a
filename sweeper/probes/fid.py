"""How far two data sets lie apart, in the features of one extractor: the Frechet distance.

The extractor is the caller's, and so is its name beside the number: distances of different extractors do not compare.
No features are made here.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Features = npt.NDArray[np.floating] | torch.Tensor
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Moments:
    """What of a set of features its Frechet distances need; sets that were seen in pieces are merged by `+`."""

    images: int
    mean: Floats
    """(features,)"""
    scatter: Floats
    """(features, features), the sum over images of the outer product of what differs from the mean."""

    def __add__(self, other: "Moments") -> "Moments":
        """The moments of both sets together, by the update of Chan, Golub & LeVeque 1983, which loses no digits."""
        if self.mean.shape != other.mean.shape:
            raise ValueError(f"features of {len(self.mean)} and of {len(other.mean)} dimensions cannot be merged")
        images = self.images + other.images
        step = other.mean - self.mean
        scatter = self.scatter + other.scatter + np.outer(step, step) * (self.images * other.images / images)
        return Moments(images=images, mean=self.mean + step * (other.images / images), scatter=scatter)


@dataclass(frozen=True, kw_only=True)
class Frechet:
    """A Frechet distance, what it is made of, and what to doubt it by."""

    distance: float
    """The squared distance, as everywhere called FID: `means` + `covariances`, >= 0."""
    means: float
    """||mean - mean||^2."""
    covariances: float
    """trace(S + T - 2 (S T)^(1/2)) of the two covariances."""
    ranks: tuple[int, int]
    """Of the covariances. Where one is below the number of features, as for any set of no more images than features,
    part of the distance is that the set is small: it falls as the set grows, and sizes must be alike to compare."""


def moments(features: Features) -> Moments:
    """The moments of one piece of a set of features, summed in float64 on the features' own device.

    Args:
        features: (images, features), numpy or torch, at least one image.

    Raises:
        ValueError: not two-dimensional, no image, or a feature that is not finite.
    """
    given = _checked(features)
    mean = given.mean(dim=0)
    apart = given - mean
    return Moments(images=len(given), mean=mean.cpu().numpy(), scatter=(apart.T @ apart).cpu().numpy())


def frechet(one: Moments, other: Moments) -> Frechet:
    """The squared Frechet distance of two Gaussians with the sets' means and covariances (Heusel et al. 2017).

    ||m - n||^2 + trace(S + T - 2 (S T)^(1/2)) (Dowson & Landau 1982), with covariances over images - 1. The last trace
    is the sum of the singular values of A' B where S = A A' and T = B B', which are the roots of the eigenvalues of
    S^(1/2) T S^(1/2): exact for covariances without full rank as well, where a matrix square root of S T is not.

    A set of features against itself gives 0 to rounding. Unchanged if both sets are rotated or shifted alike.

    Raises:
        ValueError: the sets have different numbers of features, or one has a single image.
    """
    if one.mean.shape != other.mean.shape:
        raise ValueError(
            f"one set has {len(one.mean)} features an image and the other {len(other.mean)}; use one extractor for both"
        )
    roots = [_root(each) for each in (one, other)]
    overlap = np.linalg.svd(roots[0].T @ roots[1], compute_uv=False).sum() if all(x.size for x in roots) else 0.0
    total = float(np.square(roots[0]).sum() + np.square(roots[1]).sum())
    means = float(np.square(one.mean - other.mean).sum())
    covariances = max(0.0, total - 2 * float(overlap))
    ranks = roots[0].shape[1], roots[1].shape[1]
    return Frechet(distance=means + covariances, means=means, covariances=covariances, ranks=ranks)


def fid(one: Features, other: Features) -> Frechet:
    """`frechet` of two sets of features that are there at once; arguments as `moments`."""
    return frechet(moments(one), moments(other))


def _root(given: Moments) -> Floats:
    """(features, rank) A with A A' the covariance; what rounding leaves of zero eigenvalues is left out."""
    if given.images < 2:
        raise ValueError(f"a covariance needs at least two images, a set has {given.images}")
    values, vectors = np.linalg.eigh(given.scatter / (given.images - 1))
    kept = values > len(values) * np.finfo(np.float64).eps * max(float(values[-1]), 0.0)
    return vectors[:, kept] * np.sqrt(values[kept])


def _checked(features: Any) -> torch.Tensor:
    given = torch.as_tensor(features).detach()
    if given.ndim != 2 or not len(given):
        raise ValueError(
            f"features have shape {tuple(given.shape)}; a set needs (images, features), at least one image"
        )
    given = given.double()
    if not torch.isfinite(given).all():
        raise ValueError("the features hold values that are not finite; look for a run that diverged")
    return given
