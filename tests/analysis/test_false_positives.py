"""How often tests find what is not there, and what is: simulated studies of linear classifiers on five folds.

Each data set has 100 patients in folds as `data.folds` cuts them (60/20/20 %), and two settings that see ten features
each, other ones but drawn alike. Fisher's discriminant is trained on a seed's four fifths of the training part and
judged by AUROC on the test part. Where both settings' features tell the classes apart equally well, a difference found
is a false one. Power and error are those of `compare` itself, run once on all data sets together.

At 4000 data sets (the slow test prints it; standard error of a share near 5 %: 0.3 %):

=====================================================  ==============  =====================
two-sided test at 5 %                                  false positives power (AUROC +0.09)
=====================================================  ==============  =====================
paired t, folds x seeds pooled (naive)                 SEE_NAIVE       -
paired t over folds, seeds averaged                    SEE_FOLDS       -
corrected t over folds, seeds averaged (`compare`)     SEE_ERROR       SEE_POWER
=====================================================  ==============  =====================
"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.statistics import compare, signed_rank_test

FEATURES, FOLDS, SEEDS = 10, 5, 3
SHIFT = 0.35
"""Distance of the classes' means in each feature, in its sd."""


def studies(datasets: int, *, gain: float = 0.0, seed: int = 0, patients: int = 100) -> pd.DataFrame:
    """AUROC of each data set, source, fold and seed; `imagenet` has a class shift larger by `gain`."""
    generator = np.random.default_rng(seed)
    labels = np.arange(patients) // FOLDS % 2  # each fold has as many of both
    folds = np.arange(patients) % FOLDS
    rows = []
    for source, shift in (("random", SHIFT), ("imagenet", SHIFT + gain)):
        features = generator.normal(size=(datasets, patients, FEATURES)) + shift * labels[:, None]
        for fold in range(FOLDS):
            train, test = ~np.isin((folds - fold) % FOLDS, (0, 1)), folds == fold
            for number in range(SEEDS):
                drawn = np.flatnonzero(train)[generator.permutation(train.sum())[: train.sum() * 4 // 5]]
                scores = discriminate(features[:, drawn], labels[drawn], features[:, test])
                known = {"dataset": [f"set{n:04}" for n in range(datasets)], "source": source, "protocol": "sweeper"}
                aurocs = auroc(scores, labels[test])
                rows.append(pd.DataFrame(known | {"fold": fold + 1, "seed": number, "test_auroc": aurocs}))
    return pd.concat(rows, ignore_index=True)


def discriminate(features: np.ndarray, labels: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Fisher's discriminant of each data set, (data sets, images shown)."""
    means = [features[:, labels == label].mean(axis=1) for label in (0, 1)]
    centred = features - np.where(labels[:, None] == 1, means[1][:, None], means[0][:, None])
    covariance = np.einsum("dnf,dng->dfg", centred, centred) / len(labels) + 0.1 * np.eye(FEATURES)
    direction = np.linalg.solve(covariance, (means[1] - means[0])[..., None])
    return (shown @ direction)[..., 0]


def auroc(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return (scores[:, labels == 1, None] > scores[:, None, labels == 0]).mean(axis=(1, 2))


def compared(frame: pd.DataFrame) -> pd.DataFrame:
    return compare(frame, "source", "random", value="test_auroc")


def pooled(frame: pd.DataFrame, *, averaged: bool) -> np.ndarray:
    """p of the ordinary paired t-test of each data set."""
    rows = frame.groupby(["dataset", "source", "fold", *([] if averaged else ["seed"])])["test_auroc"].mean()
    wide = rows.unstack("source")
    differences = (wide["imagenet"] - wide["random"]).to_numpy().reshape(frame["dataset"].nunique(), -1)
    tested = stats.ttest_1samp(differences, 0, axis=1)
    return np.asarray(tested.pvalue)  # pyright: ignore[reportAttributeAccessIssue]


def error(share: float, number: int) -> float:
    return float(np.sqrt(share * (1 - share) / number))


def test_the_default_keeps_its_error_where_pooling_folds_and_seeds_does_not() -> None:
    frame = studies(400)
    found, naive = float((compared(frame)["p"] < 0.05).mean()), float((pooled(frame, averaged=False) < 0.05).mean())
    assert found <= 0.05 + 2 * error(0.05, 400)
    assert naive > 0.05 + 5 * error(0.05, 400)


def test_what_is_called_detectable_is_found_as_often_as_its_standard_error_allows() -> None:
    found = compared(studies(300, gain=0.25))
    assert (found["p"] < 0.05).mean() > 0.25
    assert (found["low"] < found["difference"]).all()
    assert (found["detectable"] > 2.7 * found["se"]).all()  # with 4 degrees of freedom: 3.9 of them


def test_across_targets_their_means_keep_the_error_where_pooling_their_folds_does_not() -> None:
    generator = np.random.default_rng(0)
    own = generator.normal(0, 0.03, size=(2000, 8, 1))  # what a setting gains on a target, on average nothing
    folds = own + generator.normal(0, 0.02, size=(2000, 8, FOLDS))
    ranked = np.mean([signed_rank_test(each.mean(axis=1)).p < 0.05 for each in folds])
    naive = np.mean([stats.wilcoxon(each.ravel()).pvalue < 0.05 for each in folds])  # pyright: ignore[reportAttributeAccessIssue]
    assert ranked <= 0.05 + 2 * error(0.05, 2000)
    assert ranked > 0.02  # of 8 targets, p comes in steps: the largest below 0.05 is 0.039
    assert naive > 0.15


@pytest.mark.slow
def test_errors_and_power_at_many_data_sets(capsys: pytest.CaptureFixture[str]) -> None:
    frame, better = studies(4000), studies(4000, gain=0.25, seed=1)
    naive, folds = ((pooled(frame, averaged=averaged) < 0.05).mean() for averaged in (False, True))
    false, true = compared(frame), compared(better)
    found, power = (false["p"] < 0.05).mean(), (true["p"] < 0.05).mean()
    covered = ((false["low"] <= 0) & (false["high"] >= 0)).mean()
    with capsys.disabled():
        print(f"\nnaive {naive:.3f}, folds {folds:.3f}, corrected {found:.3f}; covered {covered:.3f}")
        print(
            f"power {power:.3f} at a mean gain of {true['difference'].mean():.3f}, detectable {true['detectable'].mean():.3f}"
        )
    assert found <= 0.05 + 2 * error(0.05, 4000)
    assert covered >= 0.95 - 2 * error(0.05, 4000)
    assert naive > 0.15
    assert folds > found
    assert power > 0.25
