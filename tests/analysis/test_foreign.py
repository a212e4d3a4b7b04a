"""Foreign tables, written in the studies' form with their published means and spreads, against these numbers."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import foreign

FOLDS = [f"fold{number}" for number in range(1, 6)]
PUBLISHED = {
    ("thyroid", "ImageNet", "freezeFalse"): (52.3, 8.85),
    ("thyroid", "RadImageNet", "freezeTrue"): (49.4, 5.91),
    ("breast", "ImageNet", "freezeFalse"): (90.5, 3.83),
    ("breast", "RadImageNet", "freezeFalse"): (88.2, 4.24),
    ("breast", "random", "freezeFalse"): (51.2, 9.99),
    ("isic", "ImageNet", "freezeFalse"): (94.2, 1.32),
    ("isic", "random", "freezeFalse"): (84.0, 2.27),
    ("pcam-small", "RadImageNet", "freezeTrue"): (86.0, 1.85),
}
"""Mean and sd (n - 1) over 5 folds of the AUC x 100 that the study published."""
CCA = {
    ("breast-ImageNet-freezeFalse", "ImageNet"): (0.896, 0.908, 0.828, 0.637, 0.410),
    ("breast-RadImageNet-freezeFalse", "RadImageNet"): (0.697, 0.381, 0.278, 0.216, 0.199),
    ("ImageNet", "RadImageNet"): (0.540, 0.335, 0.280, 0.228, 0.165),
    ("random", "random"): (0.592, 0.401, 0.385, 0.389, 0.380),
    ("breast-ImageNet-freezeTrue", "ImageNet"): (0.9, 0.8, 0.7, 0.6, 0.5),
}
"""Means over folds at conv1, block1, ..., block4; the last is invented."""
SPREAD = np.array([-2.0, -1.0, 0.0, 1.0, 2.0]) / np.sqrt(2.5)  # of mean 0 and sd 1


def auc_table() -> pd.DataFrame:
    return pd.DataFrame(
        [
            (*setting, fold, (mean + sd * step) / 100)
            for setting, (mean, sd) in PUBLISHED.items()
            for fold, step in zip(FOLDS, SPREAD, strict=True)
        ],
        columns=["target", "source", "freeze", "fold", "AUC"],
    )


def cca_table() -> pd.DataFrame:
    return pd.DataFrame(
        [
            (*pair, fold, "breast", *(mean + 0.01 * step for mean in means))
            for pair, means in CCA.items()
            for fold, step in zip(FOLDS, SPREAD, strict=True)
        ],
        columns=["model1", "model2", "fold", "stimuli", *foreign.LAYERS],
    )


def similarity_table() -> pd.DataFrame:
    means = {("thyroid", "real"): 0.633, ("thyroid", "rand"): 0.528, ("breast", "real"): 0.823}
    return pd.DataFrame(
        [
            (target, "ImageNet", "RadImageNet", "freezeFalse", fold, prob, mean + 0.02 * step)
            for (target, prob), mean in means.items()
            for fold, step in zip(FOLDS, SPREAD, strict=True)
        ],
        columns=["target", "model1", "model2", "freeze", "fold", "prob", "value"],
    )


TABLES = {
    "AUC.csv": (auc_table, foreign.auc_runs),
    "CCA_breast.csv": (cca_table, foreign.cca_probes),
    "similarity.csv": (similarity_table, foreign.similarity_rows),
}


def write(table: pd.DataFrame, path: Path) -> Path:
    table.to_csv(path, index=False)
    return path


@pytest.fixture
def auc(tmp_path: Path) -> pd.DataFrame:
    return foreign.auc_runs(write(auc_table(), tmp_path / "AUC.csv"))


@pytest.fixture
def cca(tmp_path: Path) -> pd.DataFrame:
    return foreign.cca_probes(write(cca_table(), tmp_path / "CCA_breast.csv"))


def test_the_published_means_and_spreads_come_out(auc: pd.DataFrame) -> None:
    values = auc["best_val_auroc"].fillna(auc["best_val_auroc_weighted"])
    found = (100 * values).groupby([auc["dataset"], auc["source"], auc["freeze"]]).agg(["mean", "std", "count"])
    for (target, source, freeze), (mean, sd) in PUBLISHED.items():
        row = found.loc[(target, foreign.SOURCES[source], freeze == "freezeTrue")]
        assert row.tolist() == pytest.approx([mean, sd, 5], rel=1e-12)


def test_targets_of_several_classes_have_another_metric(auc: pd.DataFrame) -> None:
    several = auc["dataset"] == "isic"
    assert auc.loc[several, "best_val_auroc"].isna().all()
    assert auc.loc[several, "best_val_auroc_weighted"].notna().all()
    assert auc.loc[~several, "best_val_auroc_weighted"].isna().all()


def test_runs_have_the_columns_and_types_of_ours(auc: pd.DataFrame) -> None:
    assert auc["fold"].dtype == "int64"
    assert auc["source"].dtype == auc["key"].dtype == "str"
    assert auc["freeze"].dtype == "bool"
    assert set(auc["study"]) == {"hidden_representations"}
    assert auc["key"].is_unique
    assert set(auc["source"]) == {"imagenet", "radimagenet", "random"}


def test_digits_are_read_exactly(tmp_path: Path) -> None:
    table = auc_table().head(1).assign(AUC=0.9527204719209004)
    assert foreign.auc_runs(write(table, tmp_path / "a.csv"))["best_val_auroc"].tolist() == [0.9527204719209004]


def test_the_published_cca_comes_out_by_block(cca: pd.DataFrame) -> None:
    means = cca.groupby(["key", "against", "block"])["value"].mean()
    for (first, second), wanted in CCA.items():
        assert means.loc[(first, second)].tolist() == pytest.approx(wanted, rel=1e-12)
    assert cca[["block", "layer"]].drop_duplicates().sort_values("block")["layer"].tolist() == list(foreign.LAYERS)


def test_a_source_as_it_was_is_not_frozen_or_unfrozen(cca: pd.DataFrame) -> None:
    rows = cca.drop_duplicates("key").set_index("key")
    assert rows["freeze"].isna().to_dict() == {key: key in ("ImageNet", "random") for key in rows.index}
    assert rows.loc["breast-ImageNet-freezeTrue", ["source", "freeze"]].tolist() == ["imagenet", True]
    assert rows.loc["random", "source"] == "random"


def test_the_published_similarity_comes_out(tmp_path: Path) -> None:
    rows = foreign.similarity_rows(write(similarity_table(), tmp_path / "similarity.csv"))
    means = rows.groupby(["dataset", "measure"])["value"].mean()
    assert means.to_dict() == pytest.approx(
        {("thyroid", "observed"): 0.633, ("thyroid", "independent"): 0.528, ("breast", "observed"): 0.823}, rel=1e-12
    )


def test_gains_are_of_the_same_target_and_fold(auc: pd.DataFrame, cca: pd.DataFrame) -> None:
    found = foreign.gains(auc, cca)
    assert set(found["key"]) == {"breast-ImageNet-freezeFalse", "breast-RadImageNet-freezeFalse"}
    assert len(found) == 2 * 5 * 5
    row = found[(found["source"] == "imagenet") & (found["fold"] == 5) & (found["layer"] == "block2")].iloc[0]
    tuned, random = 0.905 + 0.0383 * SPREAD[4], 0.512 + 0.0999 * SPREAD[4]
    assert row["gain"] == pytest.approx((tuned - random) / random, rel=1e-12)
    assert row["value"] == pytest.approx(0.828 + 0.01 * SPREAD[4], rel=1e-12)


def test_similarity_and_gain_correlate_as_scipy_says(auc: pd.DataFrame, cca: pd.DataFrame) -> None:
    rows = foreign.gains(auc, cca)
    rows = rows[(rows["source"] == "imagenet") & (rows["layer"] == "conv1")]
    tuned, random = 90.5 + 3.83 * SPREAD, 51.2 + 9.99 * SPREAD
    wanted = stats.pearsonr(0.896 + 0.01 * SPREAD, tuned / random).statistic
    assert np.corrcoef(rows["value"], rows["gain"])[0, 1] == pytest.approx(wanted, rel=1e-9)


def test_a_run_that_a_gain_needs_is_named(auc: pd.DataFrame, cca: pd.DataFrame) -> None:
    without = auc[~((auc["source"] == "random") & (auc["fold"] == 2))]
    with pytest.raises(ValueError, match=r"breast-ImageNet-freezeFalse or of random, fold 2, is not in the AUC rows"):
        foreign.gains(without, cca)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("column", r"has the columns .*; expected is "),
        ("empty", "has no rows"),
        ("missing", "line 3: a value is missing"),
        ("range", r"line 4: .* = 95\.2.* is no number in \[0, 1\]"),
        ("text", "line 4: .* = high is no number"),
        ("fold", r"line 2: fold 'fold6' is none of fold1, "),
        ("twice", r"line \d+: .* is there twice"),
    ],
)
def test_another_form_is_refused_by_its_line(tmp_path: Path, name: str, harm: str, told: str) -> None:
    make, read = TABLES[name]
    table = make()
    value = str(table.columns[-1])
    match harm:
        case "column":
            table = table.rename(columns={value: "score"})
        case "empty":
            table = table.head(0)
        case "missing":
            table.loc[1, value] = np.nan
        case "range":
            table.loc[2, value] = 95.2
        case "text":
            table[value] = table[value].astype(object)
            table.loc[2, value] = "high"
        case "fold":
            table.loc[0, "fold"] = "fold6"
        case "twice":
            table = pd.concat([table, table.head(1)])
    with pytest.raises(ValueError, match=told) as caught:
        read(write(table, tmp_path / name))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", ["breast_ImageNet_freezeFalse", "DINO", "breast-ImageNet-freeze"])
def test_a_model_of_another_name_is_refused(tmp_path: Path, model: str) -> None:
    table = cca_table()
    table.loc[3, "model2"] = model
    with pytest.raises(ValueError, match=f"line 5: model2 '{model}' is neither"):
        foreign.cca_probes(write(table, tmp_path / "CCA_breast.csv"))


METRICS = {
    "test_accuracy": 0.81,
    "test_recall": 0.576,
    "test_quadratic_kappa": 0.7,
    "test_roc_auc": 0.9,
    "test_loss": 1.2,
}
AXES = {"isic_deit": {"dataset": "isic2019", "model": "deit_small", "source": "imagenet"}}


def results(folder: Path, **named: dict[str, object]) -> Path:
    for name, content in named.items():
        (folder / name.replace("__", "-")).mkdir(parents=True)
        (folder / name.replace("__", "-") / "metrics_results.json").write_text(json.dumps(content))
    return folder


def test_metrics_results_become_runs(tmp_path: Path) -> None:
    folder = results(
        tmp_path, isic_deit_tul_4__run_3=METRICS, isic_deit__run_1={"test_recall": 0.5, "knn_val_f1": 0.25}
    )
    found = foreign.feature_reuse_runs(folder, AXES, "multiclass").set_index("key")
    cut = found.loc["isic_deit_tul_4-run_3"]
    assert (cut["seed"], cut["transfer_up_to_layer"], cut["dataset"]) == (3, 4, "isic2019")
    assert (cut["test_recall_macro"], cut["test_auroc_ovo"], cut["test_loss"]) == (0.576, 0.9, 1.2)
    whole = found.loc["isic_deit-run_1"]
    assert (whole["seed"], pd.isna(whole["transfer_up_to_layer"]), whole["test_knn_f1_macro"]) == (1, True, 0.25)
    assert pd.isna(whole["test_auroc_ovo"])


def test_nothing_transferred_is_minus_two(tmp_path: Path) -> None:
    found = foreign.feature_reuse_runs(results(tmp_path, **{"isic_deit_tul_-2__run_1": METRICS}), AXES, "multiclass")
    assert found["transfer_up_to_layer"].tolist() == [-2]


def test_five_runs_average_to_table_one(tmp_path: Path) -> None:
    runs = {f"isic_deit__run_{n}": {"test_recall": round(0.576 + 0.01 * (n - 3), 3)} for n in range(1, 6)}
    found = foreign.feature_reuse_runs(results(tmp_path, **runs), AXES, "multiclass")
    assert found["test_recall_macro"].mean() == pytest.approx(0.576, abs=1e-12)


@pytest.mark.parametrize(("task", "column"), [("binary", "test_auroc"), ("multilabel", "test_auroc")])
def test_roc_auc_is_what_the_task_makes_it(tmp_path: Path, task: str, column: str) -> None:
    assert column in foreign.feature_reuse_runs(results(tmp_path, isic_deit=METRICS), AXES, task)


@pytest.mark.parametrize("content", [{"test_auc": 0.5}, {"test_accuracy": "high"}, {}, [1], {"val_accuracy": 0.5}])
def test_what_the_study_does_not_write_is_refused(tmp_path: Path, content: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"metrics_results\.json"):
        foreign.feature_reuse_runs(results(tmp_path, isic_deit=content), AXES, "binary")


def test_a_name_without_axes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'ddsm_swin-run_1', whose axes are not given: there are those of isic_deit"):
        foreign.feature_reuse_runs(results(tmp_path, ddsm_swin__run_1=METRICS), AXES, "binary")


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="name the study's results folder"):
        foreign.feature_reuse_runs(tmp_path, AXES, "binary")
