"""Frames of a real MLflow store against the numbers that were recorded in it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import recording
from recording import CELLS, EMPTY, EPOCHS, FAILED, MIXED, PROBES, RUNNING, STUDY, TWICE

from analysis import frames
from sweeper.cell import AXES, Cell, Knn, probe_key
from sweeper.site import Site

BY_KEY = {cell.key: cell for cell in CELLS}


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return recording.recorded(tmp_path_factory.getbasetemp() / "recorded")


@pytest.fixture(scope="module")
def runs(recorded: Site) -> pd.DataFrame:
    return frames.runs(STUDY, recorded)


def test_there_is_one_row_per_finished_cell(runs: pd.DataFrame) -> None:
    assert sorted(runs["key"]) == sorted(BY_KEY)


@pytest.mark.parametrize("cell", [RUNNING, FAILED])
def test_a_cell_that_is_not_finished_has_no_row(recorded: Site, runs: pd.DataFrame, cell: Cell) -> None:
    assert cell.key not in set(runs["key"])
    assert cell.key not in set(frames.epochs(STUDY, recorded)["key"])


def test_every_axis_has_its_value(runs: pd.DataFrame) -> None:
    for row in runs.to_dict("records"):
        wanted = BY_KEY[row["key"]].row()
        assert set(AXES) < set(wanted) < set(row)
        for axis, value in wanted.items():
            text = ", ".join(value) if isinstance(value, tuple) else value
            assert (pd.isna(row[axis]) and value is None) or row[axis] == text, axis


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("depth", "Int64"),
        ("blocks", "Int64"),
        ("patience", "Int64"),
        ("lr_trials", "Int64"),
        ("seed", "int64"),
        ("best_epoch", "int64"),
        ("fraction", "float64"),
        ("lr", "float64"),
        ("lr_found", "float64"),
        ("test_auroc", "float64"),
        ("source", "str"),
        ("nesterov", "bool"),
        ("milestones", "str"),
        ("class_weights", "str"),
        ("clip", "float64"),
        ("lr_share", "str"),
        ("run_id", "str"),
    ],
)
def test_a_column_has_its_type(runs: pd.DataFrame, column: str, kind: str) -> None:
    assert runs[column].dtype == kind


def test_metrics_and_found_rates_are_exact(runs: pd.DataFrame) -> None:
    cells = [BY_KEY[key] for key in runs["key"]]
    assert runs["test_auroc"].tolist() == [recording.score_of(cell, "auroc") for cell in cells]
    assert runs["best_val_accuracy"].tolist() == [0.5] * len(cells)
    assert runs["lr_found"].tolist() == [recording.lr_of(cell) for cell in cells]
    assert (runs["epochs_run"] == EPOCHS).all()


def test_curves_are_no_columns_of_cells(runs: pd.DataFrame) -> None:
    assert not {"train_loss", "val_auroc", "lr_now", "images_per_second"} & set(runs.columns)


def test_rows_are_sorted_by_their_axes_with_missing_values_last(runs: pd.DataFrame) -> None:
    order = runs[["fraction", "depth", "source", "seed"]].fillna({"depth": 99})
    assert order.values.tolist() == sorted(order.values.tolist())
    assert runs["depth"].isna().any()


def test_epochs_hold_every_epoch_as_it_was(recorded: Site) -> None:
    found = frames.epochs(STUDY, recorded)
    assert len(found) == len(CELLS) * EPOCHS
    assert found["epoch"].dtype == "int64"
    cell = CELLS[3]
    rows = found[found["key"] == cell.key]
    assert rows["val_auroc"].tolist() == [epoch.scores["auroc"] for epoch in recording.epochs_of(cell)]
    assert rows["images_per_second"].tolist() == [101.0, 102.0, 103.0]
    assert rows["depth"].tolist() == [cell.network.depth] * EPOCHS


def test_predictions_hold_every_image_as_it_was(recorded: Site) -> None:
    found = frames.predictions(STUDY, recorded)
    rows = found[found["key"] == CELLS[5].key].reset_index(drop=True)
    wanted = recording.predictions_of(CELLS[5])
    pd.testing.assert_frame_equal(rows[list(wanted.columns)], wanted)


def test_predictions_carry_only_the_axes_that_vary(recorded: Site) -> None:
    columns = list(frames.predictions(STUDY, recorded).columns)
    assert columns[: columns.index("image")] == ["study", "key", "fraction", "depth", "source", "seed"]


def test_cells_with_fewer_classes_lack_the_other_scores(recorded: Site) -> None:
    found = frames.predictions(MIXED, recorded)
    assert found[found["dataset"] == "breastmnist"]["score_9"].isna().all()
    assert found[found["dataset"] == "digits"]["score_9"].notna().all()


def test_probes_hold_every_block_and_metric_as_it_was(recorded: Site) -> None:
    found = frames.probes(STUDY, recorded)
    for cell in CELLS[:4]:
        for probe in PROBES:
            rows = found[(found["key"] == cell.key) & (found["probe_key"] == probe_key(probe))]
            wanted = recording.probe_rows(cell, probe)
            for column in ("block", "metric", "value", "probe"):
                assert rows[column].tolist() == wanted[column].tolist()
            assert (rows["fraction"] == cell.images.fraction).all()


def test_settings_of_a_probe_are_typed_columns(recorded: Site) -> None:
    found = frames.probes(STUDY, recorded)
    assert found["k"].dtype == "Int64"
    assert found["block"].dtype == "int64"
    assert (found["k"].isna() == (found["probe"] != "knn")).all()
    assert set(found["k"].dropna()) == {20}
    assert set(found[found["probe_key"] == probe_key(Knn(k=20))]["temperature"]) == {0.1}


def test_a_study_without_finished_cells_gives_typed_frames_without_rows(recorded: Site) -> None:
    for of in (frames.runs, frames.epochs, frames.predictions, frames.probes):
        assert of(EMPTY, recorded).empty
    assert frames.runs(EMPTY, recorded)["depth"].dtype == "Int64"
    assert frames.runs(EMPTY, recorded)["dataset"].dtype == "str"


def test_a_study_without_probes_gives_no_probe_rows(recorded: Site) -> None:
    assert frames.probes(MIXED, recorded).empty


def test_two_finished_runs_of_a_cell_are_refused_by_its_key(recorded: Site) -> None:
    with pytest.raises(ValueError, match=rf"study 'twice' .* cell {recording.SOURCE.key} .* delete all but one"):
        frames.runs(TWICE, recorded)


@pytest.mark.parametrize("of", [frames.runs, frames.epochs, frames.predictions, frames.probes])
def test_an_unknown_study_is_refused_with_those_there_are(recorded: Site, of: Callable[..., pd.DataFrame]) -> None:
    with pytest.raises(LookupError, match=r"no study 'transfre' .*transfer"):
        of("transfre", recorded)


def test_the_site_of_the_environment_is_the_default(recorded: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPER_STORAGE", str(recorded.storage))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert len(frames.runs(MIXED)) == len(recording.MIXED_CELLS)


def test_varying_axes_count_a_missing_value_as_one() -> None:
    frame = pd.DataFrame({"depth": pd.array([2, None], dtype="Int64"), "lr": [np.nan, np.nan], "other": [1, 2]})
    assert frames.varying(frame) == ["depth"]


def test_reading_frames_imports_neither_torch_nor_ray() -> None:
    code = "import sys, analysis.frames; sys.exit(bool({'torch', 'ray', 'timm'} & set(sys.modules)))"
    repository = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=repository, check=False).returncode == 0
