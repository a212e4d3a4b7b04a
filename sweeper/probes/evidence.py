"""The evidence of Bayesian linear regression at its maximum over both of its precisions: the heart of LogME.

It knows nothing of classes and averages nothing.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

Floats = npt.NDArray[np.float64]

PER_DECADE = 10
"""Ratios looked at in a factor of 10, before the best is refined: the evidence is smooth over a factor of about e."""
BELOW, ABOVE = 1e-30, 1e15
"""How far beyond the squared singular values ratios are looked at. Far above, the evidence has its limit to rounding;
far below lies the maximum of a target that the features reproduce almost: up to a relative error of 1e-13, squared."""


def largest(features: Floats, targets: Floats) -> Floats:
    """The largest log evidence of each target, (targets,), in nats, for all images together.

    y = F w + noise, w from N(0, I / alpha), noise from N(0, I / beta), without intercept (MacKay 1992; Bishop 2006,
    eq. 3.86). With the ratio t = alpha / beta, the singular values s of F and z = U'y, the best beta for a ratio is
    images / E(t), E(t) = |y|^2 - |z|^2 + sum z^2 t / (t + s^2), and leaves

        (images log(images / E(t)) - images - images log(2 pi) - sum log(1 + s^2 / t)) / 2

    to be maximised over one number. It may have several maxima: ratios are looked at all along, and the best refined.
    Where the maximum lies at no or at all weights (t to infinity or to zero), it is the limit.

    Args:
        features: (images, features).
        targets: (images, targets), none of them all zero.

    Raises:
        ValueError: features that are all zero, or a target that fewer directions than images reproduce exactly, for
            then the evidence has no maximum.
    """
    squares, inner, outside = _decompose(features, targets)
    images = len(features)
    ratios = _ratios(squares)
    return np.array(
        [_largest_of(squares, z**2, float(rest), images, ratios) for z, rest in zip(inner.T, outside, strict=True)]
    )


def _decompose(features: Floats, targets: Floats) -> tuple[Floats, Floats, Floats]:
    """Squared singular values (rank,), U'y (rank, targets), and what of |y|^2 lies outside of U (targets,).

    By a QR decomposition of features and targets side by side: the last is a sum of squares and no difference.
    """
    images, dims = features.shape
    triangle = np.asarray(np.linalg.qr(np.hstack([features, targets]), mode="r"))
    left, lengths, _ = np.linalg.svd(triangle[:dims, :dims], full_matrices=False)
    if not lengths[0] > 0:
        raise ValueError("LogME needs features that are not all zero; look for a dead block")
    z = left.T @ triangle[:dims, dims:]  # (min(images, features), targets)
    rank = int(np.sum(lengths > lengths[0] * max(images, dims) * np.finfo(np.float64).eps))
    outside = np.square(triangle[dims:, dims:]).sum(axis=0) + np.square(z[rank:]).sum(axis=0)
    exact = outside <= (max(images, dims) * np.finfo(np.float64).eps) ** 2 * np.square(targets).sum(axis=0)
    if rank < images and exact.any():
        raise ValueError(
            f"the features reproduce class {int(np.argmax(exact))} exactly with {rank} directions for {images} images, "
            "so that LogME has no maximum; look for the label among the features, or use more images"
        )
    return lengths[:rank] ** 2, z[:rank], np.where(exact, 0.0, outside)


def _ratios(squares: Floats) -> Floats:
    low, high = math.log(squares[-1] * BELOW), math.log(squares[0] * ABOVE)
    return np.linspace(low, high, math.ceil((high - low) / math.log(10) * PER_DECADE) + 1)


def _largest_of(squares: Floats, shares: Floats, rest: float, images: int, ratios: Floats) -> float:
    """Of one target: the best of the ratios, refined between its neighbours."""

    def loss(log_ratio: float) -> float:
        ratio = math.exp(log_ratio)
        error = rest + float(np.sum(shares * (ratio / (ratio + squares))))
        fit = images * (math.log(images / error) - 1 - math.log(2 * math.pi))
        return (float(np.sum(np.log1p(squares / ratio))) - fit) / 2

    losses = np.array([loss(each) for each in ratios])
    best = int(np.argmin(losses))
    bounds = ratios[max(best - 1, 0)], ratios[min(best + 1, len(ratios) - 1)]
    refined = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-10})
    return -min(float(refined.fun), float(losses[best]))
