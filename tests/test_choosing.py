"""What a study may make of finished rows: cells of its own function, and the best rows on validation."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sweeper import Cell, LrSearch, Sweep, best_rows, grid
from sweeper.choosing import with_cells
from sweeper.grid import StudyError, load

BEFORE = Sweep(name="before", cells=grid(dataset="digits", model="cbr_mini", depth=[1, 2, 3], seed=range(2)))
STUDY = """
from sweeper import Sweep, grid
before = Sweep(name="before", cells=grid(dataset="digits", model="cbr_mini"))
def deeper(rows):
    return grid(dataset="digits", modle="cbr_mini", depth=rows[0]["depth"])
sweeps = [before, Sweep(name="next", after=before, choose=deeper)]
"""


def rows(*scores: float, **axes: Any) -> list[dict[str, Any]]:
    """Rows of two seeds per depth, in the order of the cells."""
    cells = grid(dataset="digits", model="cbr_mini", depth=range(1, len(scores) // 2 + 1), seed=range(2), **axes)
    return [{"key": cell.key} | cell.row() | {"best_val_auroc": x} for cell, x in zip(cells, scores, strict=True)]


def chosen(given: Any) -> Sweep:
    return with_cells(Sweep(name="next", after=BEFORE, choose=lambda rows: given), rows(0.5, 0.6))


def test_a_function_gets_the_rows_and_gives_the_cells() -> None:
    def deeper(rows: list[dict[str, Any]]) -> list[Cell]:
        return [cell for row in rows for cell in grid(dataset="digits", model="cbr_mini", seed=row["seed"] + 10)]

    found = with_cells(Sweep(name="next", after=BEFORE, choose=deeper), rows(0.5, 0.6))
    assert [cell.seed for cell in found.cells] == [10, 11]


def test_a_sweep_that_has_its_cells_waits_for_none() -> None:
    found = chosen(BEFORE.cells[:1])
    assert (found.name, found.choose, found.after) == ("next", None, None)


@pytest.mark.parametrize(
    ("given", "said"),
    [([], "it gave none"), ([*BEFORE.cells, 3], "it gave 3 among them"), (None, "TypeError: 'NoneType'")],
)
def test_anything_but_cells_is_one_sentence(given: Any, said: str) -> None:
    with pytest.raises(StudyError, match="sweep 'next': its function <lambda>") as error:
        chosen(given)
    assert said in str(error.value)


def test_an_error_in_a_study_s_function_names_its_line_in_the_study(tmp_path: Path) -> None:
    (tmp_path / "study.py").write_text(STUDY)
    with pytest.raises(StudyError) as error:
        with_cells(load(tmp_path / "study.py")[1], rows(0.5, 0.6))
    assert f"its function deeper failed at {tmp_path / 'study.py'}:5 with StudyError" in str(error.value)
    assert "axis 'modle' is unknown" in str(error.value)


def test_a_function_that_changes_its_rows_changes_nobody_else_s() -> None:
    given = rows(0.5, 0.6)

    def spoil(rows: list[dict[str, Any]]) -> tuple[Cell, ...]:
        rows[0].clear()
        return tuple(BEFORE.cells)

    with_cells(Sweep(name="next", after=BEFORE, choose=spoil), given)
    assert given == rows(0.5, 0.6)


def test_the_best_row_has_the_best_mean_over_seeds_and_not_the_best_seed() -> None:
    table = rows(0.9, 0.1, 0.6, 0.7, 0.2, 0.3)
    (best,) = best_rows(table, by=["dataset"], score="best_val_auroc")
    assert best["depth"] == pd.DataFrame(table).groupby("depth")["best_val_auroc"].mean().idxmax() == 2


def test_where_lower_is_better_the_lowest_mean_is_best() -> None:
    table = rows(0.9, 0.1, 0.6, 0.7, 0.2, 0.3)
    (best,) = best_rows(table, by=["dataset"], score="best_val_auroc", highest=False)
    assert best["depth"] == pd.DataFrame(table).groupby("depth")["best_val_auroc"].mean().idxmin() == 3


def test_of_equal_means_the_first_setting_is_best() -> None:
    (best,) = best_rows(rows(0.5, 0.5, 0.4, 0.6), by=["dataset"], score="best_val_auroc")
    assert (best["depth"], best["seed"]) == (1, 0)


def test_each_group_has_a_best_row_of_its_own() -> None:
    table = rows(0.5, 0.5, 0.4, 0.4, size=16) + rows(0.1, 0.1, 0.4, 0.4, size=32)
    found = best_rows(table, by=["size"], score="best_val_auroc")
    assert [(row["size"], row["depth"]) for row in found] == [(16, 1), (32, 2)]


def test_rates_that_were_found_apart_set_no_settings_apart() -> None:
    """A search that is not shared finds one rate a seed."""
    table = rows(0.5, 0.9, 0.6, 0.7, lr=LrSearch(low=1e-4, high=1e-2, share=()))
    for number, row in enumerate(table):
        row["lr_found"] = 1e-3 * (number + 1)
    (best,) = best_rows(table, by=["dataset"], score="best_val_auroc")
    assert best["depth"] == 1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"by": ["modle"], "score": "best_val_auroc"}, "no axis 'modle'; did you mean model?"),
        ({"by": ["model"], "score": "best_val_aurc"}, "no score 'best_val_aurc'; did you mean best_val_auroc?"),
        ({"by": ["model"], "score": "test_auroc"}, "no score 'test_auroc'; did you mean best_val_auroc?"),
        ({"by": ["model"], "score": "best_val_auroc", "over": ["run"]}, "no axis 'run'"),
    ],
)
def test_a_misspelt_axis_or_score_is_named(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        best_rows(rows(0.5, 0.6), **asked)


def test_nothing_is_chosen_by_a_score_that_is_nan() -> None:
    with pytest.raises(ValueError, match=r"best_val_auroc of cell [0-9a-f]{16} is NaN"):
        best_rows(rows(0.5, float("nan")), by=["model"], score="best_val_auroc")
