"""The result table against numpy and scipy on the numbers that were recorded."""

import numpy as np
import pandas as pd
import pytest
import recording
from recording import CELLS, MIXED, MIXED_CELLS, STUDY
from scipy.stats import gmean

from analysis import frames
from analysis.table import as_text, setting_axes, table
from sweeper.cell import Cell
from sweeper.site import Site


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return recording.recorded(tmp_path_factory.getbasetemp() / "recorded")


@pytest.fixture(scope="module")
def runs(recorded: Site) -> pd.DataFrame:
    return frames.runs(STUDY, recorded)


@pytest.fixture(scope="module")
def found(runs: pd.DataFrame) -> pd.DataFrame:
    return table(runs)


def cells_of(row: pd.Series) -> list:
    depth = None if pd.isna(row["depth"]) else row["depth"]
    setting = (row["fraction"], depth, row["source"])
    return [c for c in CELLS if (c.images.fraction, c.network.depth, c.weights.source) == setting]


def test_there_is_one_row_per_setting_and_all_cells_are_in_one(found: pd.DataFrame) -> None:
    assert len(found) == len(found[["fraction", "depth", "source"]].drop_duplicates()) == 8
    assert found["n"].sum() == len(CELLS)


def test_mean_and_sample_sd_are_those_of_numpy(found: pd.DataFrame) -> None:
    for _, row in found.iterrows():
        scores = [recording.score_of(cell, "auroc") for cell in cells_of(row)]
        assert len(scores) == row["n"] == 3
        assert row["mean"] == pytest.approx(np.mean(scores), rel=1e-14)
        assert row["sd"] == pytest.approx(np.std(scores, ddof=1), rel=1e-12)


def test_the_rate_is_the_geometric_mean_of_those_found(found: pd.DataFrame) -> None:
    for _, row in found.iterrows():
        rates = [recording.lr_of(cell) for cell in cells_of(row)]
        assert row["lr_found"] == pytest.approx(gmean(rates), rel=1e-12)
        assert row["lr_found"] < np.mean(rates)


def test_a_setting_of_one_cell_has_no_sd(recorded: Site) -> None:
    found = table(frames.runs(MIXED, recorded))
    assert found["n"].tolist() == [1] * len(MIXED_CELLS)
    assert found["sd"].isna().all()


def test_each_data_set_is_judged_by_its_own_metric(recorded: Site) -> None:
    found = table(frames.runs(MIXED, recorded))
    for cell in MIXED_CELLS:
        metric = {"digits": "accuracy", "breastmnist": "auroc"}[cell.images.dataset]
        row = found[(found["dataset"] == cell.images.dataset) & (found["lr"] == cell.recipe.lr)].iloc[0]
        assert row["metric"] == f"test_{metric}"
        assert row["mean"] == recording.score_of(cell, metric)


def test_another_metric_and_other_axes_can_be_asked_for(runs: pd.DataFrame) -> None:
    found = table(runs, "test_accuracy", by=["source"])
    wanted = [recording.score_of(cell, "accuracy") for cell in CELLS if cell.weights.source == "random"]
    row = found[found["source"] == "random"].iloc[0]
    assert (row["n"], row["metric"]) == (len(wanted), "test_accuracy")
    assert row["mean"] == pytest.approx(np.mean(wanted), rel=1e-14)


def test_an_unknown_metric_is_refused_with_those_there_are(runs: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"no metric 'test_kappa'; they have best_val_accuracy, .*test_auroc"):
        table(runs, "test_kappa")


def test_a_cell_without_a_value_is_refused_by_its_key(runs: pd.DataFrame) -> None:
    holed = runs.assign(test_auroc=runs["test_auroc"].where(runs["key"] != CELLS[7].key))
    with pytest.raises(ValueError, match=f"cell {CELLS[7].key} of study 'transfer' has no test_auroc"):
        table(holed)


def undefined_in(runs: pd.DataFrame, *cells: Cell) -> pd.DataFrame:
    """The cells' test parts have one class alone, by which no AUROC can be computed."""
    lacks = runs["key"].isin([cell.key for cell in cells])
    return runs.assign(test_auroc=runs["test_auroc"].mask(lacks), test_classes_unranked=2.0 * lacks)


def test_an_undefined_score_is_left_out_and_counted(runs: pd.DataFrame) -> None:
    found = table(undefined_in(runs, CELLS[0]))
    row = found[found["undefined"] > 0]
    ((mean, sd, n, undefined),) = row[["mean", "sd", "n", "undefined"]].values
    scores = [recording.score_of(cell, "auroc") for cell in cells_of(row.iloc[0]) if cell != CELLS[0]]
    assert (n, undefined) == (2, 1)
    assert (mean, sd) == pytest.approx((np.mean(scores), np.std(scores, ddof=1)), rel=1e-12)


def test_a_setting_without_a_defined_score_keeps_its_row(runs: pd.DataFrame) -> None:
    found = table(undefined_in(runs, *CELLS[:3]))
    assert len(found) == 8
    row = found[found["undefined"] > 0].iloc[0]
    assert (row["n"], row["undefined"]) == (0, 3)
    assert np.isnan(row["mean"])


def test_the_count_of_another_part_excuses_no_missing_value(runs: pd.DataFrame) -> None:
    holed = undefined_in(runs, CELLS[7]).rename(columns={"test_classes_unranked": "best_val_classes_unranked"})
    with pytest.raises(ValueError, match=f"cell {CELLS[7].key} of study 'transfer' has no test_auroc"):
        table(holed)


def test_seeds_and_folds_repeat_a_setting(runs: pd.DataFrame) -> None:
    assert setting_axes(runs.assign(fold=runs["seed"] + 1)) == ["depth", "fraction", "source"]


def test_an_axis_that_follows_from_another_is_left_out(runs: pd.DataFrame) -> None:
    follows = runs.assign(batch_size=np.where(runs["fraction"] < 0.5, 16, 64))
    assert setting_axes(follows) == ["depth", "fraction", "source"]


def test_an_axis_that_splits_a_setting_is_kept(runs: pd.DataFrame) -> None:
    splits = runs.assign(batch_size=np.where(runs["seed"] == 0, 16, 64))
    assert setting_axes(splits) == ["depth", "fraction", "batch_size", "source"]


def test_rows_do_not_depend_on_the_order_of_the_cells(runs: pd.DataFrame) -> None:
    shuffled = runs.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(table(shuffled), table(runs), check_exact=False, rtol=1e-14)


def test_text_gives_mean_sd_and_n_with_three_decimals() -> None:
    frame = _frame(depth=[2, 2, None], test_auroc=[0.8612, 0.8849, 0.5], lr_found=[1e-3, 1e-3, 0.02])
    assert as_text(table(frame)).splitlines() == [
        "depth  test_auroc         lr_found",
        "    2  0.873 ± 0.017 (2)  1.0e-03",
        "  all  0.500 (1)          2.0e-02",
    ]


def test_text_says_how_many_cells_have_the_score() -> None:
    frame = _frame(depth=[2, 2, 3, 4], test_auroc=[0.86, np.nan, np.nan, 0.5], lr_found=[1e-3] * 4)
    assert as_text(table(frame.assign(test_classes_unranked=[0.0, 2.0, 2.0, 0.0]))).splitlines()[1:] == [
        "    2  0.860 (1 of 2)  1.0e-03",
        "    3  - (0 of 1)      1.0e-03",
        "    4  0.500 (1)       1.0e-03",
    ]


def test_text_spells_out_an_axis_that_is_true_or_false() -> None:
    frame = _frame(depth=[2, 2], test_auroc=[0.5, 0.6], lr_found=[1e-3] * 2).assign(scale_lr=[True, False])
    assert [line.split()[0] for line in as_text(table(frame)).splitlines()] == ["scale_lr", "False", "True"]


def test_text_of_a_study_of_six_axes_fits_a_terminal(recorded: Site) -> None:
    runs = frames.runs(STUDY, recorded)
    runs["source"] = runs["source"].where(runs["source"] == "random", "medical_mnist_64 (3f2a)")
    names = [(dataset, model) for dataset in ("breastmnist", "pneumoniamnist") for model in ("cbr_larget", "resnet10t")]
    many = [runs.assign(dataset=dataset, model=model, frozen=runs["seed"]) for dataset, model in names]
    lines = as_text(table(pd.concat(many, ignore_index=True))).splitlines()
    assert lines[0].split()[:-2] == ["dataset", "model", "depth", "fraction", "frozen", "source"]
    assert max(map(len, lines)) <= 100


def test_text_names_the_metric_of_each_row_where_they_differ(recorded: Site) -> None:
    lines = as_text(table(frames.runs(MIXED, recorded))).splitlines()
    assert lines[0].split() == ["dataset", "lr", "metric", "score", "lr_found"]
    assert ["test_auroc" in line for line in lines[1:]] == [True, True, False, False]


def _frame(**columns: list) -> pd.DataFrame:
    size = len(columns["depth"])
    fixed = {name: [name] * size for name in ("study", "key")} | {"dataset": ["breastmnist"] * size}
    return pd.DataFrame(fixed | {"seed": range(size)} | columns).astype({"depth": "Int64"})
