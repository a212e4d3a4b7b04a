"""Projection-weighted CCA: the mean of canonical correlations, each weighted by how much of a layer it stands for.

Two definitions are in use, the paper's and that of the code published with it, and their values differ.
"""

import numpy as np
import numpy.typing as npt
import torch

from sweeper.probes.cca import SAMPLES, basis_of, crossed
from sweeper.probes.samples import Features, centred


def pwcca(x: Features, y: Features, *, samples: float = SAMPLES) -> float:
    """Projection-weighted CCA of Morcos et al. 2018 (eq. 1 to 3), in 0..1; NaN if a layer is constant.

    The weight of the i-th correlation is sum_j |<h_i, x_j>| over x's centred features x_j, with h_i the i-th canonical
    variate on x's side. The first layer gives the weights: pwcca(x, y) is not pwcca(y, x). Directions are counted, and
    inputs refused, as in `cca`.

    Args:
        x: (samples, features), numpy or torch; computed in float64.
        y: (samples, other features).
        samples: fewest samples for each direction.
    """
    left, right = (basis_of(each, samples=samples) for each in (x, y))
    if not min(left.directions, right.directions):
        return float("nan")
    turns, correlations, _ = torch.linalg.svd(crossed(left, right), full_matrices=False)
    projections = (left.whiten @ turns).T @ (left.left.T @ centred(x))  # (correlations, features)
    weights = projections.abs().sum(dim=1)
    return float((weights * correlations.clamp(max=1.0)).sum() / weights.sum())


def pwcca_of_google(x: Features, y: Features, *, samples: float = SAMPLES) -> float:
    """Projection-weighted CCA as google/svcca's `compute_pwcca` computes it, to compare with values published from it.

    It differs from the paper in three ways. The directions are U^T (X - mean) + mean, U the left singular vectors of
    Sxx^-1/2 Sxy Syy^-1/2, without the whitening Sxx^-1/2, made orthonormal by QR; the features are not centred in the
    projection; and the weights are those of the layer with fewer features that vary, the first at a tie (where that is
    the second, the code itself fails; its evident intention is done here).

    Because the mean is added, the value depends on the arbitrary signs of singular vectors, hence on numpy's LAPACK: on
    the layers of this probe's tests it lies between 0.8706 and 0.8733 by signs alone. For anything new take `pwcca`.

    Raises:
        ValueError: like `cca`; or features of the layer, constant ones left out, depend linearly on each other.
    """
    left, right = _live(x), _live(y)
    if len(left) != len(right):
        raise ValueError(f"CCA needs the same samples: one side has {len(left)}, the other {len(right)}")
    if not min(left.shape[1], right.shape[1]):
        return float("nan")
    if left.shape[1] > right.shape[1]:
        left, right = right, left
    means = left.mean(axis=0)
    half, other = (_inverse_root(each, samples) for each in (left, right))
    turns, correlations, _ = np.linalg.svd(half @ ((left - means).T @ (right - right.mean(axis=0))) @ other)
    orthonormal, _ = np.linalg.qr((left - means) @ turns + means)
    weights = np.abs(orthonormal.T @ left).sum(axis=1)
    return float((weights * np.minimum(correlations, 1)).sum() / weights.sum())


def _live(layer: Features) -> npt.NDArray[np.float64]:
    """The layer's features that vary, as they are, (samples, features that vary)."""
    live = centred(layer).any(dim=0)
    return torch.as_tensor(layer).detach().double()[:, live].cpu().numpy()


def _inverse_root(layer: npt.NDArray[np.float64], samples: float) -> npt.NDArray[np.float64]:
    """Symmetric inverse square root of samples x covariance."""
    if basis_of(layer, samples=samples).directions < layer.shape[1]:
        raise ValueError(
            "features of a layer depend linearly on each other, google/svcca's directions are undefined; take `pwcca`"
        )
    variances, vectors = np.linalg.eigh(np.cov(layer.T).reshape(layer.shape[1], -1) * (len(layer) - 1))
    return (vectors / np.sqrt(variances)) @ vectors.T
