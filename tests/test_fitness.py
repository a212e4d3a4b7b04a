"""Which folders can hold a study: those of real file systems, some of which lack what it takes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import environment_of
from mounted import bucket, by_gluster, by_ssh

from sweeper.fitness import refuse_unfit
from sweeper.run import main
from sweeper.site import Site

STUDY = (
    "from sweeper import *\nsweep = Sweep(name='s', cells=grid(dataset='digits', model='cbr_mini', size=8, fold=1))\n"
)


@pytest.fixture(params=["disk", "sshfs", "glusterfs"])
def fit(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder of each file system on which a study can be held by one machine."""
    match request.param:
        case "disk":
            yield tmp_path
        case "sshfs":
            with by_ssh(tmp_path / "ssh") as (one, _):
                yield one
        case _:
            with by_gluster(tmp_path / "gluster") as (one, _):
                yield one


def test_a_folder_in_which_all_works_passes_and_nothing_is_left_in_it(fit: Path) -> None:
    storage = fit / "lab" / "storage"
    refuse_unfit(storage)
    assert list(storage.iterdir()) == []


def test_a_bucket_is_refused_because_a_file_in_a_renamed_folder_is_lost(tmp_path: Path) -> None:
    with bucket(tmp_path / "s3") as mounted:
        with pytest.raises(OSError, match=f"storage {mounted} cannot hold a study, .* while its folder is renamed"):
            refuse_unfit(mounted)
        assert list(mounted.iterdir()) == []


def test_a_server_that_replaces_no_file_is_refused(tmp_path: Path) -> None:
    with (
        by_ssh(tmp_path / "ssh", without="posix-rename") as (one, _),
        pytest.raises(OSError, match=r"replacing a file fails \(Operation not permitted\).* set SWEEPER_STORAGE to"),
    ):
        refuse_unfit(one)


def test_a_storage_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=f"storage {tmp_path}/file/storage cannot be written \\(Not a directory\\)"):
        refuse_unfit(tmp_path / "file" / "storage")


def test_the_command_says_it_in_one_sentence_and_starts_nothing(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "study.py").write_text(STUDY)
    with bucket(tmp_path / "s3") as mounted:
        for name, value in environment_of(site).items():
            monkeypatch.setenv(name, value.replace(str(site.storage), str(mounted)))
        assert main([str(tmp_path / "study.py")]) == 1
        said = capsys.readouterr()
    assert said.err.startswith(f"OSError: storage {mounted} cannot hold a study")
    assert said.err.count("\n") == 1
    assert "Ray dashboard" not in said.out
    assert not site.cache.exists()
