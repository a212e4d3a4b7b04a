"""Where things lie, as the environment says."""

from pathlib import Path

import pytest

from sweeper.site import Site


def test_a_folder_may_be_given_as_a_file_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPER_DATA", "file:///lab/my%20images")
    assert Site.from_environment().data == Path("/lab/my images")


@pytest.mark.parametrize("variable", ["SWEEPER_DATA", "SWEEPER_CACHE", "SWEEPER_STORAGE"])
@pytest.mark.parametrize("url", ["s3://bucket/place", "file://server/place"])
def test_a_url_that_is_no_folder_of_this_machine_is_refused(
    variable: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, url)
    remedy = "name one of a disk" if url.startswith("s3") and variable != "SWEEPER_DATA" else "mount it"
    with pytest.raises(ValueError, match=f"{variable} is {url}, but files are read as those of a folder: {remedy}"):
        Site.from_environment()


@pytest.mark.parametrize("given", ["soon", "-1", "nan"])
def test_a_patience_that_is_no_time_is_refused_by_its_variable(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPER_PATIENCE", given)
    with pytest.raises(ValueError, match=f"SWEEPER_PATIENCE is {given}; it must be a number of seconds, at least 0"):
        Site.from_environment()


def test_a_relative_path_means_the_folder_where_the_command_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWEEPER_STORAGE", "results")
    assert Site.from_environment().storage == tmp_path / "results"
