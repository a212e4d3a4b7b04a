"""How often tests find what is not there, and what is: simulated studies of linear classifiers on five folds.

Each data set has 100 patients, or 400, in folds as `data.folds` cuts them (60/20/20 %), and two settings that see ten
features each, other ones but drawn alike. Fisher's discriminant is trained on a seed's four fifths of the training part
and judged by AUROC on the test part. Where both settings' features tell the classes apart equally well, a difference
that is found is a false one. Error and power are those of `compare` itself, run once on all data sets together.

The slow test prints them; of 4000 data sets, two-sided at 5 % (standard error of a share near 5 %: 0.3 %):

    false positives at 100 patients: paired t, folds and seeds pooled   39.5 %
                                     paired t over folds of seed means  11.4 %
                                     corrected t, as `compare` has it    3.2 %
    its power                        at 100 patients, a mean gain of 0.16 in AUROC: 24 %
                                     at 400 patients, a mean gain of 0.14 in AUROC: 68 %

Across 8 targets whose own gains differ with an sd of 0.03, and their 5 folds with 0.02; of 4000 studies each:

                                       false positives   power for a mean gain of 0.03
    all folds pooled, Wilcoxon              30.6 %
    means of targets, Wilcoxon               4.1 %                57 %
    mixed model                              4.6 %                64 %
"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.statistics import compare, mixed_mean_of, signed_rank_test

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


def test_the_default_finds_a_gain_near_what_it_calls_detectable() -> None:
    found = compared(studies(80, gain=0.25, patients=400, seed=5))
    assert 0.8 < found["difference"].mean() / found["detectable"].mean() < 1.0
    assert (found["p"] < 0.05).mean() > 0.5


def across(studies: int, *, gain: float = 0.0, seed: int = 0) -> np.ndarray:
    """Differences of 8 targets on 5 folds: each target gains something of its own, about which its folds scatter."""
    generator = np.random.default_rng(seed)
    own = generator.normal(gain, 0.03, size=(studies, 8, 1))
    return own + generator.normal(0, 0.02, size=(studies, 8, FOLDS))


def found_across(differences: np.ndarray) -> dict[str, float]:
    """How often each test of the targets, and the naive one of their pooled folds, finds a difference at 5 %."""
    found = {
        "ranks": [signed_rank_test(each.mean(axis=1)).p < 0.05 for each in differences],
        "mixed": [
            mixed_mean_of(each.mean(axis=1), each.std(axis=1, ddof=1), np.full(8, FOLDS)).p < 0.05
            for each in differences
        ],
        "pooled": stats.wilcoxon(differences.reshape(len(differences), -1), axis=1).pvalue < 0.05,  # pyright: ignore[reportAttributeAccessIssue]
    }
    return {name: float(np.mean(each)) for name, each in found.items()}


def test_across_targets_both_tests_keep_the_error_where_pooling_the_folds_does_not() -> None:
    found = found_across(across(1000))
    for name in ("ranks", "mixed"):
        assert found[name] <= 0.05 + 2 * error(0.05, 1000)
        assert found[name] > 0.02  # of 8 targets, p of ranks comes in steps: the largest below 0.05 is 0.039
    assert found["pooled"] > 0.15


@pytest.mark.slow
def test_errors_and_power_at_many_data_sets(capsys: pytest.CaptureFixture[str]) -> None:
    frame = studies(4000)
    naive, folds = ((pooled(frame, averaged=averaged) < 0.05).mean() for averaged in (False, True))
    same = compared(frame)
    found, covered = (same["p"] < 0.05).mean(), ((same["low"] <= 0) & (same["high"] >= 0)).mean()
    better = {patients: compared(studies(1000, gain=0.25, seed=1, patients=patients)) for patients in (100, 400)}
    power = {patients: float((each["p"] < 0.05).mean()) for patients, each in better.items()}
    with capsys.disabled():
        print(f"\npooled {naive:.3f}, folds {folds:.3f}, corrected {found:.3f}; interval covers {covered:.3f}")
        for patients, each in better.items():
            means = each[["difference", "detectable"]].mean()
            told = f"gain {means['difference']:.3f}, called detectable {means['detectable']:.3f}"
            print(f"{patients} patients: power {power[patients]:.3f}, {told}")
    assert found <= 0.05 + 2 * error(0.05, 4000)
    assert covered >= 0.95 - 2 * error(0.05, 4000)
    assert naive > 0.3
    assert 0.05 + 5 * error(0.05, 4000) < folds < naive
    assert power[100] > 0.2
    assert power[400] > 0.6


@pytest.mark.slow
def test_errors_and_power_across_targets_in_many_studies(capsys: pytest.CaptureFixture[str]) -> None:
    same, better = found_across(across(4000, seed=1)), found_across(across(4000, gain=0.03, seed=2))
    with capsys.disabled():
        print(f"\nno gain: {same}; a gain of 0.03: {better}")
    for name in ("ranks", "mixed"):
        assert same[name] <= 0.05 + 2 * error(0.05, 4000)
    assert better["ranks"] > 0.5
    assert better["mixed"] > better["ranks"]
