"""Studies whose surroundings fail under them: a real MLflow server, a real small disk, a real lock.

What belongs to the kernel needs root: where a file system may not be mounted, those tests are skipped.
"""

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from driving import FEW, NAME, Place, assert_equal, driver, free_port, mlflow_server, place, run

from analysis import frames

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc"),
]
CELLS = 16


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Place:
    here = place(tmp_path_factory.mktemp("few"), FEW, cells=CELLS)
    code, said = run(here)
    assert code == 0, said
    return here


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip(f"no file system may be mounted here: {made.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def test_a_study_outlives_absences_of_its_server(few: Place, tmp_path: Path) -> None:
    """Leaving the server's block kills it."""
    port = free_port()
    here = place(tmp_path, FEW, cells=CELLS, tracking=f"http://127.0.0.1:{port}")
    with ExitStack() as stack:
        with mlflow_server(tmp_path / "server", port):
            started = stack.enter_context(driver(here))
            assert started.until(lambda: len(here.finished) >= 2), started.said
        time.sleep(3)
        with mlflow_server(tmp_path / "server", port):
            known = len(here.finished)
            assert started.until(lambda: len(here.finished) > known), started.said
        time.sleep(20)
        with mlflow_server(tmp_path / "server", port):
            assert started.code() == 0, started.said
            assert_equal(here, few)


def test_a_server_that_stays_away_ends_a_study_with_a_sentence_and_loses_nothing(few: Place, tmp_path: Path) -> None:
    port = free_port()
    here = place(tmp_path, FEW, cells=CELLS, tracking=f"http://127.0.0.1:{port}")
    with ExitStack() as stack:
        with mlflow_server(tmp_path / "server", port):
            started = stack.enter_context(driver(here, SWEEPER_PATIENCE="5"))
            assert started.until(lambda: len(here.finished) >= 2), started.said
        assert started.code() == 1
    assert f"MLflow at {here.site.tracking} has not taken" in last_line(started.said)
    trained = here.trained
    assert trained
    with mlflow_server(tmp_path / "server", port):
        code, said = run(here)
        assert code == 0, said
        assert_equal(here, few)
        seconds = frames.epochs(NAME, here.site).set_index(["key", "epoch"])["seconds"]
        assert {place: seconds[place] for place in trained} == trained


def test_a_full_disk_ends_a_study_with_a_sentence_and_room_lets_it_end_well(
    few: Place, tmp_path: Path, disk: Path
) -> None:
    here = place(tmp_path, FEW, cells=CELLS, storage=disk / "storage")
    needed = sum(path.stat().st_size for path in few.site.storage.rglob("*"))
    remount(disk, f"size={needed // 2}")
    code, said = run(here)
    assert code == 1, said
    assert str(here.site.storage) in last_line(said)
    assert "run the same command again" in last_line(said)
    assert len(here.finished) < CELLS
    remount(disk, "size=200m")
    code, said = run(here)
    assert code == 0, said
    assert_equal(here, few)


def test_a_read_only_disk_ends_a_study_with_a_sentence_that_names_it(few: Place, tmp_path: Path, disk: Path) -> None:
    here = place(tmp_path, FEW, cells=CELLS, storage=disk / "storage")
    with driver(here) as started:
        assert started.until(lambda: len(here.finished) >= 2), started.said
        started.send(signal.SIGKILL)
    remount(disk, "ro")
    code, said = run(here)
    assert code == 1, said
    assert "Read-only" in last_line(said) or "readonly" in last_line(said)
    assert str(here.site.storage) in last_line(said)
    remount(disk, "rw")
    code, said = run(here)
    assert code == 0, said
    assert_equal(here, few)


def test_a_study_waits_for_a_database_that_another_process_has_locked(few: Place, tmp_path: Path) -> None:
    here = place(tmp_path, FEW, cells=CELLS)
    with driver(here) as started:
        assert started.until(lambda: len(here.finished) >= 2), started.said
        other = sqlite3.connect(here.site.storage / "mlflow.db", timeout=60, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        time.sleep(20)
        assert started.process.poll() is None, started.said
        other.execute("ROLLBACK")
        other.close()
        assert started.code() == 0, started.said
    assert_equal(here, few)


def last_line(said: str) -> str:
    return said.strip().splitlines()[-1]
