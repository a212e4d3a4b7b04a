"""How alike two layers see the same images after the best rotation: the orthogonal Procrustes similarity.

Only the size normalised to 1 is offered; unnormalised distances depend on the scale of the features.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from sweeper.probes.samples import Features, centred


def procrustes(x: Features, y: Features) -> float:
    """Procrustes similarity of two layers' features of the same images, in 0..1: ||X^T Y||_* (the nuclear norm).

    Both sides are centred over the images and divided by their own Frobenius norm (Ding et al. 2021): rotations, shifts
    and isotropic scaling of either change nothing. NaN where a side is constant. Of a similarity s the distance of Ding
    et al. 2021, ||A||^2 + ||B||^2 - 2 ||A^T B||_*, is 2 - 2 s, and the angle of Williams et al. 2021, a metric between
    layers, arccos(s).

    Args:
        x: (images, features), numpy or torch, any floating type and device; computed in float64.
        y: (images, other features); the narrower side counts as padded with zeros.

    Raises:
        ValueError: not two-dimensional, different images, or a feature that is not finite.
    """
    return float(procrustes_pairs([x], [y])[0, 0])


def procrustes_pairs(xs: Sequence[Features], ys: Sequence[Features]) -> npt.NDArray[np.float64]:
    """`procrustes` of every pair of layers, (len(xs), len(ys)); a layer is prepared once."""
    lefts = [_scaled(x) for x in xs]
    rights = lefts if ys is xs else [_scaled(y) for y in ys]
    return np.array([[_nuclear(left, right) for right in rights] for left in lefts])


def _scaled(layer: Features) -> torch.Tensor:
    """The centred features over their Frobenius norm, (images, at most images columns); NaN if they are constant."""
    features = centred(layer)
    if features.shape[1] > len(features):
        # A rotation changes no similarity: X = R^T Q^T with Q orthonormal, and R^T is as narrow as there are images.
        features = torch.linalg.qr(features.T, mode="r").R.T
    size = torch.linalg.matrix_norm(features)
    return features / torch.where(size > 0, size, torch.nan)


def _nuclear(left: torch.Tensor, right: torch.Tensor) -> float:
    if len(left) != len(right):
        raise ValueError(
            f"Procrustes needs features of the same images: one side has {len(left)}, the other {len(right)}"
        )
    product = left.T @ right.to(left.device)
    if not torch.isfinite(product).all():
        return float("nan")
    return min(1.0, float(torch.linalg.svdvals(product).sum()))  # rounding alone takes it above 1
