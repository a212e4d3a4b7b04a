"""Which folders can hold a study: those of real file systems, some of which lack what it takes."""

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import environment_of
from mounted import bucket, by_gluster, by_ssh

from sweeper.fitness import refuse_unfit, refuse_unshared
from sweeper.lease import acquire
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


@pytest.fixture
def elsewhere(site: Site) -> Iterator[Site]:
    """A site whose study is run by another machine's driver, whose lock is not seen here while its heart beats."""
    folder = site.study("thorax")
    with acquire(folder) as lease:
        path = folder / "lease.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"kernel": "other"}))
        beat = folder / f"holder-{lease.token}.beat"
        (folder / f"holder-{lease.token}.lock").unlink()
        ended = threading.Event()

        def go_on() -> None:
            while not ended.wait(0.1):
                os.utime(beat)

        thread = threading.Thread(target=go_on)
        thread.start()
        yield site
        ended.set()
        thread.join()


@pytest.mark.parametrize("more", [[], ["--plan"]])
def test_a_second_machine_that_does_not_see_the_first_ones_locks_is_refused_before_the_record_is_read(
    elsewhere: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
) -> None:
    (tmp_path / "study.py").write_text(STUDY)
    for name, value in environment_of(elsewhere).items():
        monkeypatch.setenv(name, value)
    assert main([str(tmp_path / "study.py"), *more]) == 1
    said = capsys.readouterr()
    assert "OSError: study thorax is run by pid" in said.err
    assert "left failed stale" not in said.out


def test_a_second_machine_may_come_where_a_server_keeps_the_record(elsewhere: Site) -> None:
    refuse_unshared(replace(elsewhere, tracking="http://127.0.0.1:5000"))
    with pytest.raises(OSError, match="have a server keep the record"):
        refuse_unshared(elsewhere)


def test_the_storage_of_a_study_that_nobody_runs_is_not_refused(site: Site) -> None:
    refuse_unshared(site)
    acquire(site.study("thorax")).release()
    refuse_unshared(site)
