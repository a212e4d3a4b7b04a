"""Names for people: sources that are cells, and paths."""

import pandas as pd
import pytest
import recording
from recording import SOURCE, STUDY

from analysis import frames
from analysis.names import drop_keys, name_sources, shorten
from sweeper import store
from sweeper.site import Site


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return recording.recorded(tmp_path_factory.getbasetemp() / "recorded")


def frame_of(*sources: str, models: tuple[str, ...] = ("m", "m")) -> pd.DataFrame:
    return pd.DataFrame({"source": sources, "dataset": "d", "model": models[: len(sources)]})


def test_the_cell_of_a_key_is_found_in_another_study(recorded: Site) -> None:
    assert store.described(recorded, SOURCE.key) == SOURCE


def test_a_key_without_a_finished_run_is_no_cell(recorded: Site) -> None:
    assert store.described(recorded, recording.RUNNING.key) is None


def test_a_source_cell_is_named_after_its_data_set(recorded: Site) -> None:
    named = name_sources(frames.runs(STUDY, recorded), recorded)
    assert set(named["source"]) == {"random", f"flower_photos ({SOURCE.key[:4]})"}


def test_as_many_digits_are_shown_as_tell_keys_apart(recorded: Site) -> None:
    near = f"cell:{SOURCE.key[:6]}{'0' * 10}"
    named = name_sources(frame_of(f"cell:{SOURCE.key}", near), recorded)
    assert named["source"].tolist() == [f"flower_photos ({SOURCE.key[:7]})", near]


def test_figures_leave_the_key_out_where_names_are_enough() -> None:
    named = drop_keys(frame_of("flowers (aaaa)", "flowers (bbbb)", models=("m", "n")))
    assert named["source"].tolist() == ["flowers", "flowers"]


def test_figures_keep_the_key_where_two_sources_share_a_name() -> None:
    named = drop_keys(frame_of("flowers (aaaa)", "flowers (bbbb)"))
    assert named["source"].tolist() == ["flowers (aaaa)", "flowers (bbbb)"]


def test_a_path_is_shown_by_its_last_part() -> None:
    name_of = shorten(["folder:/data/kermany", "random"])
    assert (name_of("folder:/data/kermany"), name_of("random")) == ("kermany", "random")


def test_two_paths_with_one_last_part_are_told_apart() -> None:
    name_of = shorten(["folder:/a/images", "folder:/b/images"])
    assert name_of("folder:/a/images") != name_of("folder:/b/images")


def test_a_long_name_is_cut_in_the_middle() -> None:
    name = shorten(["a" * 30 + "b" * 30])("a" * 30 + "b" * 30)
    assert len(name) == 28
    assert name.startswith("aaa")
    assert name.endswith("bbb")
