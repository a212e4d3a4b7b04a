"""How well features of a source that was never trained on the target fit the target's labels: scores without training.

Each takes the features of the target's training images, and tells which source or model may serve it best: higher is
better, and only scores of one target compare. No score decides whether a cell runs, only when (`sweeper.promise`).
Baselines that do train, k-NN and a linear probe, are in `transfer_baselines.py`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from sweeper.probes import evidence
from sweeper.probes.labelled import Features, Labels, labelled
from sweeper.probes.transfer_baselines import knn_baseline, linear_probe

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Target:
    """What the scores of one target under one source and model are computed from."""

    features: Features
    """(images, features), of the source's frozen model."""
    labels: Labels
    """(images,), classes 0, 1, ..."""
    patients: npt.ArrayLike
    """(images,), whose images no two parts of a cross-validation share."""
    source_probabilities: Features | None = None
    """(images, source classes), rows summing to 1, of the source's own head; None where it has none."""
    seed: int
    """Of mixtures and folds."""


def logme(features: Features, labels: Labels) -> float:
    """LogME (You et al. 2021): the log evidence for an image, in nats, of a linear model of each class, averaged.

    The label, 1 for a class and 0 for others, is w f(x) + noise, w from N(0, 1/alpha) and the noise from N(0, 1/beta);
    the evidence is p(labels | features, alpha, beta) at its maximum over both. The paper approaches it by a fixed point
    that is stopped after a few turns; here it is the maximum itself (see `evidence`). Features are neither centred nor
    given an intercept, as in the paper. Unchanged by rotations and by a factor common to all features.

    Args:
        features: (images, features), numpy or torch; computed in float64.
        labels: (images,), classes 0..k-1, k >= 2, each with an image.

    Raises:
        ValueError: shapes that do not fit, a class without an image, features that are not finite or all zero, or that
            reproduce a class exactly with fewer dimensions than images, so that the evidence has no maximum.
    """
    x, y, classes = labelled(features, labels, "LogME")
    return float(np.mean(evidence.largest(x, np.eye(classes)[y]))) / len(x)


def h_score(features: Features, labels: Labels, *, shrink: bool = False) -> float:
    """H-score (Bao et al. 2019): trace(cov(f)^-1 cov(E[f | y])), how much of the features' spread is between classes.

    In [0, k - 1], the sum of the squared canonical correlations of features and classes; for two classes the R^2 of a
    linear regression of the label. Directions in which the features do not vary are left out (pseudo-inverse).
    Unchanged by any invertible linear map and shift of the features.

    With `shrink`, H_alpha of Ibrahim et al. 2021: (1 - alpha) trace(cov_alpha(f)^-1 cov(E[f | y])), where cov_alpha is
    the covariance shrunk as Ledoit & Wolf 2004 do, which few images of many features need. That one changes with the
    scale of single features.

    Args:
        features: as in `logme`.
        labels: as in `logme`.
        shrink: whether to shrink the covariance.

    Raises:
        ValueError: as `logme`; features that are constant; and without `shrink` features that vary in images - 1
            directions, which give k - 1 whatever the labels.
    """
    x, y, classes = labelled(features, labels, "the H-score")
    x = x - x.mean(axis=0)
    between = _class_means(x, y, classes) * np.sqrt(np.bincount(y, minlength=classes) / len(x))[:, None]
    if not x.any():
        raise ValueError("the H-score needs features that vary over the images; these are constant")
    if shrink:
        from sklearn.covariance import ledoit_wolf

        covariance, alpha = ledoit_wolf(x, assume_centered=True)
        return float((1 - alpha) * np.sum(between * np.linalg.solve(covariance, between.T).T))
    directions, lengths, _ = np.linalg.svd(x, full_matrices=False)
    rank = int(np.sum(lengths > lengths[0] * max(x.shape) * np.finfo(np.float64).eps))
    if rank >= len(x) - 1:
        raise ValueError(
            f"the H-score of {len(x)} images whose features vary in {rank} directions is {classes - 1} whatever the "
            "labels; use shrink=True, more images or fewer features"
        )
    shares = _class_means(directions[:, :rank], y, classes)
    return float(np.sum(np.bincount(y)[:, None] * shares**2))


def leep(source_probabilities: Features, labels: Labels) -> float:
    """LEEP (Nguyen et al. 2020): the mean log probability that source classes z give to the target's labels, <= 0.

    mean over images of log(sum over z of p(y | z) p(z | x)), p(y | z) = sum of p(z | x) over images of class y / sum
    over all images, which is the best that could be said of y by a draw of z. In nats.

    Args:
        source_probabilities: (images, source classes), rows summing to 1 to 1e-4, of the source's own head.
        labels: as in `logme`.

    Raises:
        ValueError: shapes that do not fit, a class without an image, or rows that are no probabilities.
    """
    given, y, classes = labelled(source_probabilities, labels, "LEEP")
    if (given < 0).any() or (np.abs(given.sum(axis=1) - 1) > 1e-4).any():
        raise ValueError("LEEP needs probabilities of source classes, rows summing to 1; apply softmax to the logits")
    joint = np.eye(classes)[y].T @ given  # (classes, source classes), times images
    total = joint.sum(axis=0)
    conditional = np.divide(joint, total, out=np.zeros_like(joint), where=total > 0)
    likelihoods = np.einsum("iz,iz->i", conditional[y], given)
    return float(np.mean(np.log(likelihoods)))


def nleep(features: Features, labels: Labels, *, seed: int, energy: float = 0.8, components: int = 5) -> float:
    """NLEEP (Li et al. 2021): `leep` with the components of a Gaussian mixture of the features as source classes.

    The features are projected on the principal components that hold `energy` of their variance; then a mixture with
    full covariances is fitted, `components` for each class. Both are scikit-learn's with its defaults (covariances are
    kept from collapsing by 1e-6, so the score changes with the scale of tiny features), seeded.

    Args:
        features: as in `logme`.
        labels: as in `logme`.
        seed: of the mixture's start, >= 0.
        energy: share of the variance, in (0, 1).
        components: for each class, >= 1; 5 in the paper.

    Raises:
        ValueError: as `logme`; fewer images than components; features that are constant; or a mixture that did not
            converge within 1000 steps.
    """
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    x, y, classes = labelled(features, labels, "NLEEP")
    if len(x) <= components * classes:
        raise ValueError(
            f"NLEEP fits {components * classes} components to {len(x)} images; it needs more images than components, "
            f"fewer than {components} a class"
        )
    if np.ptp(x, axis=0).max() == 0:
        raise ValueError("NLEEP needs features that vary over the images; these are constant")
    scores = PCA(n_components=energy, svd_solver="full").fit_transform(x)
    mixture = GaussianMixture(n_components=components * classes, random_state=seed, max_iter=1000).fit(scores)
    if not mixture.converged_:
        raise ValueError("the mixture of NLEEP did not converge in 1000 steps; use fewer components or another seed")
    return leep(mixture.predict_proba(scores), y)


def transrate(
    features: Features,
    labels: Labels,
    *,
    epsilon: float = 1e-4,
    weights: Literal["share", "equal"] = "share",
    normalise: bool = False,
) -> float:
    """TransRate (Huang et al. 2022): the coding rate of all features less that of each class's, in nats.

    R(Z) - sum over classes of weight x R(Z of the class), R(Z) = logdet(I + Z'Z / (images of Z x epsilon)) / 2, with Z
    the features centred over all images, and not again within a class, as in the paper: so two classes on either side
    of the mean of a single feature score 0. How much the labels tell of the features at distortion epsilon.

    Args:
        features: as in `logme`.
        labels: as in `logme`.
        epsilon: distortion, > 0, in squared units of a feature; 1e-4 in the paper's listing.
        weights: of the classes: `share`, their shares of the images, by which the second term is the rate given the
            label and the difference never negative; or `equal`, 1/k each, as in the paper's listing. They agree where
            all classes have as many images.
        normalise: whether to scale Z to a total variance of 1, so that sources whose features differ in scale compare;
            the listing leaves the scale in.

    Raises:
        ValueError: as `logme`; an epsilon that is not positive; or features that are constant, to be normalised.
    """
    x, y, classes = labelled(features, labels, "TransRate")
    if not 0 < epsilon < math.inf:
        raise ValueError(f"epsilon {epsilon} of TransRate must be greater than 0 and finite")
    x = x - x.mean(axis=0)
    if normalise and not x.any():
        raise ValueError("TransRate can normalise only features that vary over the images; these are constant")
    x = x / np.linalg.norm(x) * math.sqrt(len(x)) if normalise else x
    counts = np.bincount(y, minlength=classes)
    shares = counts / len(x) if weights == "share" else np.full(classes, 1 / classes)
    rates = np.array([_coding_rate(x[y == label], epsilon) for label in range(classes)])
    return _coding_rate(x, epsilon) - float(shares @ rates)


def _coding_rate(z: Floats, epsilon: float) -> float:
    """From the smaller of Z'Z and ZZ', which have the same eigenvalues but zeros."""
    gram = z.T @ z if z.shape[1] <= z.shape[0] else z @ z.T
    gram /= len(z) * epsilon
    gram[np.diag_indices_from(gram)] += 1.0
    return float(np.linalg.slogdet(gram).logabsdet) / 2


def _class_means(x: Floats, y: npt.NDArray[np.int64], classes: int) -> Floats:
    """(classes, features)"""
    return np.stack([x[y == label].mean(axis=0) for label in range(classes)])


def _leep_of(target: Target) -> float:
    if target.source_probabilities is None:
        raise ValueError("LEEP needs probabilities of the source's own classes, and this source has no head")
    return leep(target.source_probabilities, target.labels)


SCORES: Mapping[str, Callable[[Target], float]] = {
    "logme": lambda target: logme(target.features, target.labels),
    "h_score": lambda target: h_score(target.features, target.labels),
    "h_score_shrunk": lambda target: h_score(target.features, target.labels, shrink=True),
    "leep": _leep_of,
    "nleep": lambda target: nleep(target.features, target.labels, seed=target.seed),
    "transrate": lambda target: transrate(target.features, target.labels),
    "knn": lambda target: knn_baseline(target.features, target.labels, target.patients, seed=target.seed),
    "linear_probe": lambda target: linear_probe(target.features, target.labels, target.patients, seed=target.seed),
}
"""Every score by the name it is recorded under."""
