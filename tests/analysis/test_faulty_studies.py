"""The report's command and `compare` on studies that lack something: an honest page, or one clear sentence."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import make_site
from predicted_tables import predicted
from recorded import epochs, record
from test_page import Elements

from analysis import frames
from analysis.report import main
from analysis.statistics import compare
from sweeper import store
from sweeper.cell import Cell
from sweeper.finetune.metrics import score
from sweeper.grid import grid
from sweeper.site import Site

pytestmark = pytest.mark.slow  # each case is recorded and reported by the real command
STUDY = "faulty"
Tables = Callable[[Cell], pd.DataFrame]


def cells_of(**axes: object) -> list[Cell]:
    return grid(dataset="breastmnist", model="cbr_mini", source=["imagenet", "random"], **axes)


ONE_SPLIT, FOLDS = cells_of(seed=range(2)), cells_of(fold=range(1, 6))


def usual(cell: Cell) -> pd.DataFrame:
    own = int(cell.key[:6], 16) % 1000
    return predicted(2, images=40, seed=own, strength=1.0 + (cell.weights.source == "imagenet"))


def tied(cell: Cell) -> pd.DataFrame:
    return predicted(2, images=40, seed=1, tied=True)  # the same whatever the cell


def of_one_class(cell: Cell) -> pd.DataFrame:
    rows = usual(cell)
    return rows[rows["label"] == 1].reset_index(drop=True)


def of_one_patient(cell: Cell) -> pd.DataFrame:
    return usual(cell).assign(patient="p")


def of_two_patients(cell: Cell) -> pd.DataFrame:
    """One patient for each class: no resample within classes differs in its patients."""
    rows = usual(cell)
    return rows.assign(patient=rows["label"].map({0: "healthy", 1: "ill"}))


def without_a_score(cell: Cell) -> pd.DataFrame:
    rows = usual(cell)
    return rows.assign(score_1=rows["score_1"].where(rows.index > 0))


def recorded(folder: Path, cells: list[Cell], tables: Tables) -> Site:
    site = make_site(folder)
    store.initialise(site, STUDY)
    for cell in cells:
        table = tables(cell)
        test = score(table.dropna(subset="score_1"), "binary")
        val = {"auroc": 0.8 if cell.weights.source == "imagenet" else 0.7, "accuracy": 0.5}
        record(
            site,
            STUDY,
            cell,
            done=tuple(replace(each, scores=val) for each in epochs(0.4, 0.5)),
            test_scores=test,
            predictions=table,
        )
    return site


def page_of(site: Site, out: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The words of the page that the command writes."""
    monkeypatch.setenv("SWEEPER_STORAGE", str(site.storage))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert main([STUDY, str(out)]) == 0
    return " ".join(Elements((out / "report.html").read_text(encoding="utf-8")).text.split())


@pytest.mark.parametrize(
    ("cells", "tables", "said"),
    [
        (ONE_SPLIT[::2], usual, ["One seed: how much another training run would change", "1 seed, 40 test patients"]),
        (ONE_SPLIT, tied, ["is level with it on the test images", "the data cannot tell these two apart"]),
        (FOLDS, tied, ["all 5 differences are equal: their sd is 0", "Nothing can be concluded"]),
        (ONE_SPLIT, of_one_class, ["undefined, since", "Nothing can be concluded", "(2 undefined)"]),
        (FOLDS, of_one_class, ["the metric is undefined", "Nothing can be concluded"]),
        (ONE_SPLIT, of_one_patient, ["no interval: the part has 1 patient", "Nothing can be concluded"]),
        (ONE_SPLIT, of_two_patients, ["no interval: ", "Nothing can be concluded"]),
        (FOLDS[:9], usual, ["1 of 2 settings lack cells and cannot be chosen or tested yet", "finish the grid"]),
        (FOLDS[:2], usual, ["Nothing can be concluded"]),
        (ONE_SPLIT[:1], usual, ["a single setting was run, so that there is nothing to compare it with"]),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_what_a_study_lacks_stands_on_its_page(
    cells: list[Cell], tables: Tables, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = page_of(recorded(tmp_path / "site", cells, tables), tmp_path / "out", monkeypatch)
    for words in said:
        assert words in text
    assert "nan" not in text.lower().split()


def test_predictions_without_a_score_are_one_sentence_that_names_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site = recorded(tmp_path / "site", ONE_SPLIT, without_a_score)
    monkeypatch.setenv("SWEEPER_STORAGE", str(site.storage))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert main([STUDY, str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "00000.png" in said
    assert not (tmp_path / "out" / "report.html").exists()


def test_a_report_in_mlflow_changes_no_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = recorded(tmp_path / "site", ONE_SPLIT, usual)
    before = [read(STUDY, site) for read in (frames.runs, frames.epochs, frames.predictions, frames.probes)]
    page_of(site, tmp_path / "out", monkeypatch)
    after = [read(STUDY, site) for read in (frames.runs, frames.epochs, frames.predictions, frames.probes)]
    for one, other in zip(before, after, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)


@pytest.mark.parametrize(
    ("cells", "tables", "reason"),
    [
        (ONE_SPLIT, usual, "1 fold: seeds do not tell how the difference varies over patients; test its predictions"),
        (FOLDS, tied, "all 5 differences are equal: their sd is 0"),
        (FOLDS, of_one_class, "no pair of 5: the metric is undefined, a class being absent"),
        (FOLDS[:9], usual, "1 of 5 pairs are missing (first: fold 5, seed 0, no baseline cell"),
    ],
)
def test_compare_says_why_there_is_no_p(cells: list[Cell], tables: Tables, reason: str, tmp_path: Path) -> None:
    runs = frames.runs(STUDY, recorded(tmp_path, cells, tables))
    (row,) = compare(runs, "source", "random", value="test_auroc").to_dict("records")
    assert row["reason"].startswith(reason)
    assert np.isnan([row["p"], row["p_holm"], row["low"], row["high"]]).all()
