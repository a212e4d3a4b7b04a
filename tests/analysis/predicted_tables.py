"""Tables of predictions with patients, for the tests of intervals and of paired AUROCs."""

import numpy as np
import pandas as pd


def predicted(
    classes: int, *, images: int = 120, per_patient: int = 1, seed: int = 0, tied: bool = False, strength: float = 1.0
) -> pd.DataFrame:
    """Fresh predictions: patients share a logit, labels do not depend on the seed's last digit's model."""
    labels = np.random.default_rng(images).permutation(np.arange(images) % classes)
    generator = np.random.default_rng(seed)
    patients = np.arange(images) // per_patient
    shared = generator.normal(size=(patients.max() + 1, classes))[patients]
    logits = strength * np.eye(classes)[labels] + shared + generator.normal(size=(images, classes))
    if tied:
        logits = np.round(logits)
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    known = {"image": [f"{n:05}.png" for n in range(images)], "patient": [f"p{n:04}" for n in patients], "part": "test"}
    return pd.DataFrame(known | {"label": labels} | {f"score_{n}": each for n, each in enumerate(scores.T)})


def predicted_labels(*, images: int = 120, seed: int = 0) -> pd.DataFrame:
    """Fresh predictions of three labels, some of them not known."""
    generator = np.random.default_rng(seed)
    truth = (generator.random((images, 3)) < [0.5, 0.3, 0.2]).astype(float)
    scores = 1 / (1 + np.exp(-(truth - 0.5 + generator.normal(size=truth.shape))))
    truth[generator.random(truth.shape) < 0.1] = np.nan
    known = {"image": [f"{n:05}.png" for n in range(images)], "patient": [f"p{n // 2}" for n in range(images)]}
    labels = {f"label_{n}": each for n, each in enumerate(truth.T)}
    return pd.DataFrame(known | {"part": "test"} | labels | {f"score_{n}": each for n, each in enumerate(scores.T)})
