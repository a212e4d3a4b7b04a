"""DeLong's test against the plain double sum, MLstatkit, and the variance that fresh data really have."""

import numpy as np
import pytest
from MLstatkit import Delong_test
from predicted_tables import predicted
from scipy import stats
from sklearn.metrics import roc_auc_score

from analysis.statistics import bootstrap_difference, delong, delong_test


def plain(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROCs and covariance by DeLong et al. 1988, equations 3 to 6: every positive against every negative."""
    kernels = [(each[truth][:, None] > each[~truth]) + 0.5 * (each[truth][:, None] == each[~truth]) for each in scores]
    above, under = np.array([k.mean(axis=1) for k in kernels]), np.array([k.mean(axis=0) for k in kernels])
    return above.mean(axis=1), np.cov(above) / above.shape[1] + np.cov(under) / under.shape[1]


@pytest.mark.parametrize("tied", [False, True])
def test_covariance_is_that_of_the_double_sum(tied: bool) -> None:
    tables = [predicted(2, seed=seed, tied=tied, images=150) for seed in range(3)]
    truth = tables[0]["label"].to_numpy() == 1
    scores = np.stack([table["score_1"].to_numpy() for table in tables])
    found, (values, covariance) = delong(truth, scores), plain(truth, scores)
    assert found.values == pytest.approx(values, rel=1e-12)
    assert found.values == pytest.approx([roc_auc_score(truth, each) for each in scores], rel=1e-12)
    assert found.covariance == pytest.approx(covariance, rel=1e-10)


@pytest.mark.parametrize("tied", [False, True])
def test_z_and_p_are_those_of_mlstatkit(tied: bool) -> None:
    first, second = predicted(2, seed=1, tied=tied, strength=2.0), predicted(2, seed=2, tied=tied)
    found = delong_test(first, second, "binary")
    z, p = Delong_test(first["label"].to_numpy(), first["score_1"].to_numpy(), second["score_1"].to_numpy())[:2]
    assert abs(found.z) == pytest.approx(abs(float(z)), rel=1e-6)
    assert found.p == pytest.approx(float(p), rel=1e-6)


def test_interval_z_and_difference_agree() -> None:
    found = delong_test(predicted(2, seed=1, strength=2.0), predicted(2, seed=2), "binary", level=0.9)
    assert found.difference == found.first - found.second
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(found.difference / found.se)), rel=1e-12)
    assert found.high - found.low == pytest.approx(2 * 1.6448536 * found.se, rel=1e-6)


def test_several_images_of_a_patient_count_by_obuchowskis_sums() -> None:
    tables = [predicted(2, seed=seed, per_patient=3) for seed in (1, 2)]
    truth, patients = tables[0]["label"].to_numpy() == 1, tables[0]["patient"].to_numpy()
    scores = np.stack([table["score_1"].to_numpy() for table in tables])
    kernel = np.array([e[truth][:, None] > e[~truth] for e in scores], dtype=float)
    mean = kernel.mean(axis=(1, 2))
    names = np.unique(patients)
    of, to = (
        np.array([(kernel.mean(axis=axis) - mean[:, None])[:, patients[kind] == n].sum(axis=1) for n in names]).T
        for axis, kind in ((2, truth), (1, ~truth))
    )
    i10, i01 = (len(np.unique(patients[kind])) for kind in (truth, ~truth))
    m, n, i = truth.sum(), (~truth).sum(), len(names)
    mixed = i / (i - 1) * of @ to.T
    wanted = of @ of.T * i10 / (i10 - 1) / m**2 + to @ to.T * i01 / (i01 - 1) / n**2 + (mixed + mixed.T) / (m * n)
    assert delong(truth, scores, patients).covariance == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize("per_patient", [1, 4])
def test_the_se_is_near_that_of_the_bootstrap_of_patients(per_patient: int) -> None:
    first, second = (predicted(2, seed=s, images=1200, per_patient=per_patient) for s in (1, 2))
    (drawn,) = bootstrap_difference(first, second, "binary", ["auroc"], resamples=2000).to_dict("records")
    assert delong_test(first, second, "binary").se == pytest.approx((drawn["high"] - drawn["low"]) / 3.92, rel=0.1)


def test_the_test_keeps_its_error_on_equal_models() -> None:
    found = []
    for seed in range(400):
        truth = np.arange(100) % 2 == 1
        scores = truth + np.random.default_rng(seed).normal(size=(2, 100))
        aurocs = delong(truth, scores)
        c = aurocs.covariance
        found.append((aurocs.values[0] - aurocs.values[1]) / np.sqrt(c[0, 0] + c[1, 1] - 2 * c[0, 1]))
    share = np.mean(np.abs(found) > 1.959964)
    assert abs(share - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 400)


def test_equal_rankings_have_no_p() -> None:
    table = predicted(2)
    found = delong_test(table, table.assign(score_1=table["score_1"] ** 3), "binary")
    assert found.difference == 0
    assert np.isnan([found.se, found.z, found.p, found.low, found.high]).all()
    assert found.reason == "the variance is 0: both cells rank every pair alike or all otherwise"


def test_absent_classes_and_lone_patients_have_no_p() -> None:
    one, other = predicted(2, seed=1), predicted(2, seed=2)
    found = delong_test(one.assign(label=0), other.assign(label=0), "binary")
    assert np.isnan([found.first, found.p]).all()
    assert found.reason == "no image is a positive"
    lone = delong_test(one.assign(patient="only"), other.assign(patient="only"), "binary")
    assert np.isnan([lone.se, lone.p]).all()
    assert lone.first == pytest.approx(roc_auc_score(one["label"], one["score_1"]), rel=1e-12)
    assert lone.reason == "only 1 patient has positives"


def test_a_class_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"there is no class 2; the predictions have classes 0\.\.1"):
        delong_test(predicted(2), predicted(2), "binary", number=2)
