"""Bootstrap intervals against scikit-learn on images that are really repeated, and against closed forms."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from predicted_tables import predicted, predicted_labels
from scipy import stats
from sklearn import metrics as sk

from analysis.statistics import bootstrap, bootstrap_difference
from analysis.statistics.resampling import resampling_of, strata_of, weights_of
from analysis.statistics.scored import read_scored
from analysis.statistics.weighted import metrics_of
from sweeper.finetune.metrics import score

ONE_LABEL = (
    *("auroc", "auprc", "auroc_weighted", "accuracy", "balanced_accuracy", "recall_macro", "precision_macro"),
    *("f1_macro", "kappa", "quadratic_kappa", "nll", "brier", "auroc_class_1", "auprc_class_1"),
)
SEVERAL = ("auroc", "auprc", "auroc_weighted", "accuracy", "nll", "brier", "auroc_class_2", "auprc_class_0")
SKLEARN: dict[str, Callable[..., float]] = {"auroc": sk.roc_auc_score, "auprc": sk.average_precision_score}


def repeated(table: pd.DataFrame, weights: np.ndarray) -> pd.DataFrame:
    return table.loc[np.repeat(np.arange(len(table)), weights.astype(int))]


@pytest.mark.parametrize(("classes", "tied"), [(2, False), (2, True), (4, False), (4, True)])
@pytest.mark.parametrize("metric", ONE_LABEL)
def test_a_weighted_metric_is_that_of_repeated_images(metric: str, classes: int, tied: bool) -> None:
    table = predicted(classes, tied=tied)
    weights = np.random.default_rng(1).integers(0, 4, size=(5, len(table))).astype(float)
    weights[0] = 1
    found = metrics_of(read_scored(table, task := "binary" if classes == 2 else "multiclass"), [metric])(weights)[0]
    wanted = [score(repeated(table, each), task, by_class=True)[metric] for each in weights]
    assert found == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("metric", SEVERAL)
def test_a_weighted_metric_of_several_labels_leaves_out_what_is_not_known(metric: str) -> None:
    table = predicted_labels()
    weights = np.random.default_rng(1).integers(0, 4, size=(5, len(table))).astype(float)
    found = metrics_of(read_scored(table, "multilabel"), [metric])(weights)[0]
    wanted = [score(repeated(table, each), "multilabel", by_class=True)[metric] for each in weights]
    assert found == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("metric", SKLEARN)
def test_areas_are_those_of_scikit_learn_with_sample_weights(metric: str) -> None:
    table = predicted(2, tied=True)
    weights = np.random.default_rng(2).integers(0, 3, size=(20, len(table))).astype(float)
    found = metrics_of(read_scored(table, "binary"), [metric])(weights)[0]
    wanted = [SKLEARN[metric](table["label"], table["score_1"], sample_weight=each) for each in weights]
    assert found == pytest.approx(wanted, rel=1e-12)


def test_the_interval_is_that_of_a_loop_over_the_same_patients() -> None:
    table = predicted(2, per_patient=3)
    draws = np.vstack(list(weights_of(read_scored(table, "binary"), resampling_of(200, 0.9, 7))))
    aurocs = [sk.roc_auc_score(each["label"], each["score_1"]) for each in (repeated(table, row) for row in draws)]
    (row,) = bootstrap(table, "binary", ["auroc"], resamples=200, level=0.9, seed=7).to_dict("records")
    assert [row["low"], row["high"]] == pytest.approx(np.quantile(aurocs, [0.05, 0.95]), rel=1e-12)
    assert row["value"] == pytest.approx(sk.roc_auc_score(table["label"], table["score_1"]), rel=1e-12)


def test_patients_are_drawn_whole_and_as_many_of_each_stratum() -> None:
    table = predicted(3, per_patient=2, images=90)
    scored = read_scored(table, "multiclass")
    weights = np.vstack(list(weights_of(scored, resampling_of(120, 0.95, 0))))
    of_patients = weights[:, ::2]
    assert np.array_equal(of_patients, weights[:, 1::2])
    strata = strata_of(scored)
    for stratum in np.unique(strata):
        assert np.unique(of_patients[:, strata == stratum].sum(axis=1)).tolist() == [np.sum(strata == stratum)]
    assert weights.std() > 0.5


def test_a_stratum_is_the_class_of_a_patient_that_fewest_patients_have() -> None:
    table = predicted(2, images=6, per_patient=2).assign(label=[0, 0, 0, 1, 0, 0])
    assert strata_of(read_scored(table, "binary")).tolist() == [0, 1, 0]


def test_the_spread_of_an_accuracy_is_its_binomial_one() -> None:
    labels = np.arange(4000) % 2
    right = np.random.default_rng(0).random(4000) < 0.8
    shown = np.where(right, labels, 1 - labels)
    table = predicted(2, images=4000).assign(label=labels, score_0=1.0 - shown, score_1=1.0 * shown)
    (row,) = bootstrap(table, "binary", ["accuracy"], resamples=2000).to_dict("records")
    value = row["value"]
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * np.sqrt(value * (1 - value) / 4000), rel=0.06)


def test_copies_of_an_image_say_nothing_more_where_they_are_one_patient() -> None:
    table = predicted(2, images=60)
    copies = pd.concat([table.assign(image=table["image"] + str(n)) for n in range(8)], ignore_index=True)
    found = [bootstrap(t, "binary", resamples=2000) for t in (table, copies, copies.assign(patient=copies["image"]))]
    once, clustered, alone = ((each["high"] - each["low"]).to_numpy() for each in found)
    assert clustered == pytest.approx(once, rel=1e-12)
    assert alone == pytest.approx(once / np.sqrt(8), rel=0.15)


def test_equal_seeds_give_equal_intervals_and_rows_may_be_shuffled() -> None:
    table = predicted(2)
    first = bootstrap(table, "binary", seed=3)
    pd.testing.assert_frame_equal(first, bootstrap(table.sample(frac=1, random_state=1), "binary", seed=3))
    assert not first["low"].equals(bootstrap(table, "binary", seed=4)["low"])


def test_a_difference_is_taken_on_the_same_resamples() -> None:
    table = predicted(2)
    (same,) = bootstrap_difference(table, table, "binary", ["auroc"]).to_dict("records")
    assert (same["value"], same["low"], same["high"]) == (0, 0, 0)
    other = predicted(2, seed=9, strength=3.0)
    (found,) = bootstrap_difference(other, table, "binary", ["auroc"]).to_dict("records")
    assert found["value"] == found["first"] - found["second"]
    assert 0 < found["low"] < found["value"] < found["high"]


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    truth, inside = stats.norm.cdf(1 / np.sqrt(2)), 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        labels = np.arange(80) % 2
        positive = 1 / (1 + np.exp(-(labels + generator.normal(size=80))))
        table = predicted(2, images=80).assign(label=labels, score_0=1 - positive, score_1=positive)
        (row,) = bootstrap(table, "binary", ["auroc"], resamples=200, seed=seed).to_dict("records")
        inside += row["low"] <= truth <= row["high"]
    assert inside / 200 > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 200)


def test_one_patient_has_no_interval() -> None:
    found = bootstrap(predicted(2).assign(patient="only"), "binary")
    assert found[["low", "high"]].isna().all(axis=None)
    assert set(found["reason"]) == {"the part has 1 patient: nothing can be drawn again"}


def test_a_class_of_one_patient_has_no_interval() -> None:
    table = predicted(2)
    table = table.assign(label=(table.index == 5).astype(int))
    found = bootstrap(table, "binary")
    assert found[["low", "high"]].isna().all(axis=None)
    assert found["value"].notna().all()
    assert set(found["reason"]) == {"class 1 has 1 patient: it would be the same in every resample"}


def test_an_absent_class_leaves_the_metric_undefined() -> None:
    found = bootstrap(predicted(2).assign(label=0), "binary", ["auroc", "accuracy"])
    assert found["value"].isna().tolist() == [True, False]
    assert found["low"].isna().tolist() == [True, False]
    assert found["reason"].tolist() == ["the metric is undefined: the part lacks a class that it needs", ""]


@pytest.mark.parametrize("rarer", [2, 3])
def test_resamples_that_lack_a_class_are_counted_and_too_many_have_no_interval(rarer: int) -> None:
    # the last class has a patient of each rarer one and no stratum of its own: 1 of 4^rarer resamples lacks it
    labels = [label for other in range(rarer) for label in (rarer, other, other, other)]
    table = predicted(rarer + 1, images=4 * rarer, per_patient=2).assign(label=labels)
    (row,) = bootstrap(table, "multiclass", ["auroc"], resamples=4000).to_dict("records")
    assert row["lacking"] == pytest.approx(4000 / 4**rarer, abs=3 * np.sqrt(4000 / 4**rarer))
    assert np.isnan(row["low"]) == (rarer == 2)
    said = f"{row['lacking']} of 4000 resamples lack a class that the metric needs"
    assert row["reason"] == (said if rarer == 2 else "")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.assign(score_1=np.nan, score_0=np.inf), "score columns with values"),
        (
            lambda t: t.assign(score_1=t["score_1"].where(t.index != 3)),
            "image 00003.png has a score that is not finite",
        ),
        (lambda t: pd.concat([t, t]), "image 00000.png is in part 'test' twice"),
        (lambda t: t.assign(part="val"), "no rows of part 'test'; their parts are val"),
        (lambda t: t.assign(label=2), "label 2 of the predictions is none of the 2 scored classes"),
        (lambda t: t.assign(key=["a", "b"] * 60), "the predictions are of 2 cells"),
        (lambda t: t.assign(patient=None), "image 00000.png has no patient"),
        (lambda t: t.drop(columns="patient"), "no column 'patient'"),
    ],
)
def test_bad_predictions_are_refused(change: Callable[[pd.DataFrame], pd.DataFrame], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        bootstrap(change(predicted(2)), "binary")


def test_a_metric_that_is_not_defined_for_the_task_is_refused() -> None:
    with pytest.raises(ValueError, match="no bootstrap of 'kappa' for a multilabel task"):
        bootstrap(predicted_labels(), "multilabel", ["kappa"])


def test_cells_of_other_images_are_not_paired() -> None:
    table = predicted(2)
    with pytest.raises(ValueError, match=r"image 00119.png is among the predictions of one cell only"):
        bootstrap_difference(table, table.iloc[:-1], "binary")
    with pytest.raises(ValueError, match="other labels in the two cells"):
        bootstrap_difference(table, table.assign(label=1 - table["label"]), "binary")
