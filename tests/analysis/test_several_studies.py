"""Frames of several studies at once, against those of each."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import recording
from pandas.testing import assert_frame_equal
from recording import EMPTY, MIXED, SOURCES, STUDY

from analysis import frames
from sweeper.site import Site

ALL = (STUDY, MIXED, SOURCES)


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return recording.recorded(tmp_path_factory.getbasetemp() / "recorded")


@pytest.mark.parametrize("of", [frames.runs, frames.epochs, frames.probes])
def test_they_stand_under_one_another_in_the_order_named(recorded: Site, of: Callable[..., pd.DataFrame]) -> None:
    found = of(ALL, recorded)
    assert found["study"].drop_duplicates().tolist() == [name for name in ALL if len(of(name, recorded))]
    for name in ALL:
        alone = of(name, recorded)
        rows = found[found["study"] == name].reset_index(drop=True)[list(alone.columns)] if len(alone) else alone
        assert_frame_equal(rows, alone)


def test_what_a_study_lacks_is_missing_there_and_typed(recorded: Site) -> None:
    found = frames.runs([MIXED, STUDY], recorded)
    assert found["lr_trials"].dtype == "Int64"
    assert (found["lr_trials"].isna() == (found["study"] == MIXED)).all()
    assert list(found.columns) == list(frames.runs(STUDY, recorded).columns)


def test_a_study_without_finished_cells_changes_nothing(recorded: Site) -> None:
    assert_frame_equal(frames.runs([EMPTY, MIXED], recorded), frames.runs(MIXED, recorded))
    assert frames.runs([EMPTY], recorded).empty


def test_predictions_carry_what_varies_among_all_of_them(recorded: Site) -> None:
    found = frames.predictions([STUDY, MIXED], recorded)
    assert {"dataset", "model", "lr"} < set(found)
    assert not {"dataset", "model", "lr"} & set(frames.predictions(STUDY, recorded))
    assert len(found) == 6 * (len(recording.CELLS) + len(recording.MIXED_CELLS))


def test_one_cell_in_two_studies_has_a_row_in_each(recorded: Site, tmp_path: Path) -> None:
    from conftest import make_site

    from sweeper import store

    site = make_site(tmp_path)
    for name in ("a", "b"):
        store.initialise(site, name)
        recording.record(site, name, recording.SOURCE)
    found = frames.epochs(["a", "b"], site)
    assert found["study"].tolist() == ["a"] * recording.EPOCHS + ["b"] * recording.EPOCHS


def test_a_study_named_twice_is_refused(recorded: Site) -> None:
    with pytest.raises(ValueError, match="study 'transfer' is named twice"):
        frames.runs([STUDY, MIXED, STUDY], recorded)


def test_no_study_is_refused(recorded: Site) -> None:
    with pytest.raises(ValueError, match="list of studies is empty"):
        frames.runs([], recorded)
