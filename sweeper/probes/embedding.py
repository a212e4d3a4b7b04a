"""Images in the plane by their features: principal components, t-SNE or UMAP, and how far to believe the picture.

Nothing is drawn here.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Method = Literal["pca", "tsne", "umap"]
NEIGHBOURS = 5
"""Of an image, by which trustworthiness is measured."""
_FEWEST = 2 * NEIGHBOURS + 2
"""Images of which trustworthiness is defined: more than twice the neighbours (its norm is 0 or below for fewer)."""


@dataclass(frozen=True, kw_only=True)
class Plane:
    """Images in the plane."""

    points: npt.NDArray[np.float64]
    """(images, 2)."""
    numbers: dict[str, float]
    """`trustworthiness` in 0..1, and of PCA `explained_1` and `explained_2` (shares of the variance), of t-SNE the
    `divergence` that it ended at (Kullback-Leibler, nats)."""


def plane(features: npt.ArrayLike, *, method: Method, neighbours: int, seed: int) -> Plane:
    """Where each image lies in the plane.

    PCA: the scores of the two first components, the sign of each such that its largest loading is positive, in float64.
    t-SNE (van der Maaten & Hinton 2008) from PCA's place, perplexity `neighbours`; UMAP (McInnes et al. 2018) of that
    many neighbours; both of Euclidean distances and otherwise at their libraries' own settings. Of their pictures
    neither distances between groups nor sizes of groups mean anything, and another seed gives another picture.

    Trustworthiness (Venna & Kaski 2001): 1 less the normed ranks, among the features' neighbours, of those of an
    image's 5 neighbours in the plane that are not among its 5 in the features.

    Args:
        features: (images, features), finite; at least 12 images, more than `neighbours`, and 2 features.
        seed: below 2**32; of t-SNE and UMAP.

    Raises:
        ValueError: too few images or features, features that are not finite or all equal.
    """
    x = np.asarray(features, dtype=np.float64)
    _check(x, method, neighbours)
    points, numbers = _METHODS[method](x, neighbours, seed)
    from sklearn.manifold import trustworthiness  # takes a second, as what is imported below

    believed = float(trustworthiness(x, points, n_neighbors=NEIGHBOURS))
    return Plane(points=points.astype(np.float64), numbers={"trustworthiness": believed, **numbers})


def _components(x: np.ndarray, neighbours: int, seed: int) -> tuple[np.ndarray, dict[str, float]]:
    from sklearn.decomposition import PCA

    found = PCA(n_components=2, svd_solver="full")
    points = found.fit_transform(x)
    shares = found.explained_variance_ratio_
    return points, {"explained_1": float(shares[0]), "explained_2": float(shares[1])}


def _tsne(x: np.ndarray, neighbours: int, seed: int) -> tuple[np.ndarray, dict[str, float]]:
    from sklearn.manifold import TSNE

    found = TSNE(perplexity=neighbours, init="pca", random_state=seed, n_jobs=1)
    points = found.fit_transform(x)
    return points, {"divergence": float(found.kl_divergence_)}


def _umap(x: np.ndarray, neighbours: int, seed: int) -> tuple[np.ndarray, dict[str, float]]:
    try:
        import umap  # pyright: ignore[reportMissingImports]: an extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("method='umap' needs the library umap-learn: pip install umap-learn") from error
    found: Any = umap.UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1)  # several threads: no two runs alike
    return np.asarray(found.fit_transform(x)), {}


_METHODS = {"pca": _components, "tsne": _tsne, "umap": _umap}


def _check(x: np.ndarray, method: Method, neighbours: int) -> None:
    if x.ndim != 2 or x.shape[1] < 2 or len(x) < _FEWEST:
        raise ValueError(f"features have shape {x.shape}; a plane needs at least {_FEWEST} images of 2 features")
    if method != "pca" and len(x) <= neighbours:
        raise ValueError(
            f"method='{method}' with {neighbours} neighbours needs more than the {len(x)} images there are"
        )
    if not np.isfinite(x).all():
        raise ValueError("the features hold values that are not finite; look for a run that diverged")
    if not np.ptp(x, axis=0).any():
        raise ValueError(f"all {len(x)} images have the same features: there is nothing to be spread over a plane")
