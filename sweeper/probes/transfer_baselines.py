"""What training on frozen features would reach, as the bar for scores without it: k-NN and a linear probe.

Both are cross-validated by patient over the target's training images; no test image is ever looked at.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from sweeper.finetune.metrics import score
from sweeper.probes.knn import knn_scores
from sweeper.probes.labelled import Features, Labels, labelled

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

STEPS = 2000
"""Most steps of the linear probe's solver; fewer than a tenth are usual once features are standardised."""


def knn_baseline(
    features: Features,
    labels: Labels,
    patients: npt.ArrayLike,
    *,
    seed: int,
    k: int = 200,
    temperature: float = 0.1,
    folds: int = 5,
    metric: str = "auroc",
) -> float:
    """A metric of the votes of each image's k nearest among the other folds' images; see `knn.knn_scores`.

    Args:
        features: (images, features), numpy or torch.
        labels: (images,), classes 0..k-1.
        patients: (images,), names or numbers; images of one patient are in one fold.
        seed: of the folds, >= 0.
        k: neighbours, >= 1.
        temperature: of their votes, > 0.
        folds: >= 2.
        metric: an id of `finetune.metrics.METRICS`, computed over the images of all folds together.

    Raises:
        ValueError: features and labels that do not fit, too few patients, or folds without an image of some class.
    """
    x, y, classes = labelled(features, labels, "the k-NN baseline")

    def vote(train: Integers, held: Integers) -> Floats:
        return knn_scores(x[train], y[train], x[held], k=k, temperature=temperature, classes=classes)

    return _validate(vote, y, classes, patients, seed=seed, folds=folds, metric=metric)


def linear_probe(
    features: Features,
    labels: Labels,
    patients: npt.ArrayLike,
    *,
    seed: int,
    penalty: float = 1.0,
    folds: int = 5,
    metric: str = "auroc",
) -> float:
    """A metric of multinomial logistic regression on the features, fitted to the other folds' images.

    scikit-learn's, on features standardised by the images that it is fitted to.

    Args:
        features: as in `knn_baseline`, like all that is not told here.
        penalty: lambda of sum of losses + lambda |weights|^2 / 2, > 0.

    Raises:
        ValueError: as `knn_baseline`, and where the solver does not converge.
    """
    x, y, classes = labelled(features, labels, "the linear probe")

    def predict(train: Integers, held: Integers) -> Floats:
        return _logistic(x[train], y[train], x[held], penalty)

    return _validate(predict, y, classes, patients, seed=seed, folds=folds, metric=metric)


def _logistic(x: Floats, y: Integers, queries: Floats, penalty: float) -> Floats:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    if not penalty > 0:
        raise ValueError(f"penalty {penalty} of the linear probe must be greater than 0")
    scale = StandardScaler().fit(x)
    model = LogisticRegression(C=1 / penalty, max_iter=STEPS).fit(scale.transform(x), y)
    if model.n_iter_.max() >= STEPS:
        raise ValueError(f"the linear probe did not converge in {STEPS} steps; use a greater penalty than {penalty:g}")
    return model.predict_proba(scale.transform(queries))


def _validate(
    predict: Callable[[Integers, Integers], Floats],
    y: Integers,
    classes: int,
    patients: npt.ArrayLike,
    *,
    seed: int,
    folds: int,
    metric: str,
) -> float:
    """The metric of all images' predictions, each by what was fitted without its patient."""
    found = np.full((len(y), classes), np.nan)
    for train, held in _folds(y, classes, np.asarray(patients), seed=seed, folds=folds):
        found[held] = predict(train, held)
    table = pd.DataFrame({f"score_{label}": found[:, label] for label in range(classes)}).assign(label=y)
    scores = score(table, "binary" if classes == 2 else "multiclass")
    if metric not in scores:
        raise ValueError(f"no metric {metric!r} for a baseline; there are {', '.join(scores)}")
    return scores[metric]


def _folds(
    y: Integers, classes: int, patients: npt.NDArray[np.generic], *, seed: int, folds: int
) -> Iterator[tuple[Integers, Integers]]:
    """Which images are fitted and which held back, classes spread as evenly as patients allow."""
    from sklearn.model_selection import StratifiedGroupKFold

    if patients.shape != y.shape:
        raise ValueError(f"a baseline needs one patient an image: {len(y)} images, patients of shape {patients.shape}")
    if (number := len(np.unique(patients))) < folds:
        raise ValueError(f"there are {number} patients for {folds} folds of a baseline; use fewer folds")
    split = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    for train, held in split.split(np.zeros((len(y), 1)), y, patients):
        missing = np.setdiff1d(np.arange(classes), y[train])
        if len(missing):
            raise ValueError(
                f"all images of class {missing[0]} fell into one fold of a baseline; it needs images of more than one "
                "patient in every class: leave the class out, or try another seed"
            )
        yield train, held
