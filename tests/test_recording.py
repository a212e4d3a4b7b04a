"""The recorder: real folders into real MLflow, by processes that are killed at every kind of moment."""

import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from recorded import epochs, sealed_folder

from sweeper import ledger, recording, store
from sweeper.cell import Cell, make_cell
from sweeper.lease import LeaseLostError
from sweeper.outcome import Curve
from sweeper.recording import Recorder
from sweeper.site import Site
from sweeper.work import CURVE, MANIFEST, sealed, write_whole

RUNNING = "attributes.status = 'RUNNING'"

PUBLISH = """
import os, sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import make_site
from sweeper import store
from sweeper.recording import Recorder
site, study, work = make_site(Path(sys.argv[2])), sys.argv[3], Path(sys.argv[4])
store.initialise(site, study)

def publish(last):
    calls = [0]
    def count(*_):
        calls[0] += 1
        if calls[0] == last:
            os.kill(os.getpid(), 9)
    threading.setprofile(count)
    with Recorder(site, study, work, lambda: None):
        pass
    return calls[0]

for line in sys.stdin:  # each time a process of its own, for which MLflow is imported already
    child = os.fork()
    if not child:
        print(publish(int(line)), flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print("killed", flush=True)
"""
"""Answers each number n by a process that publishes what is sealed and is killed at its n-th function call."""


@pytest.fixture
def study(prepared: Site, request: pytest.FixtureRequest) -> str:
    """A study of this test's own."""
    store.initialise(prepared, request.node.name)
    return request.node.name


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work-1"
    folder.mkdir()
    return folder


@pytest.fixture
def away(prepared: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site whose tracking server does not answer."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return replace(prepared, tracking="http://127.0.0.1:9", patience=0.0)


def cells(count: int, start: int = 0) -> list[Cell]:
    return [make_cell(dataset="digits", model="cbr_mini", seed=seed) for seed in range(start, start + count)]


def seal_cells(work: Path, some: list[Cell]) -> list[Path]:
    return [sealed_folder(work / cell.key, cell) for cell in some]


def held() -> None:
    """The check of a lease that is held."""


def lost() -> None:
    raise LeaseLostError("the study is another driver's")


def finished(site: Site, study: str) -> Counter[str]:
    """Key -> how many runs say that the cell is finished."""
    return Counter(run.data.tags[store.KEY] for run in store.runs(site, study))


@pytest.fixture
def publish(root: Path, study: str, work: Path) -> Iterator[Callable[[int], str]]:
    """Publishes what is sealed in a process that is killed at its n-th call; what that process has to say."""
    command = [sys.executable, "-c", PUBLISH, str(Path(__file__).parent), str(root), study, str(work)]
    settings = os.environ | {"MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool"}  # connections do not survive a fork
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=settings)

    def ask(last: int) -> str:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{last}\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    yield ask
    process.kill()
    process.communicate()


def test_everything_handed_in_is_recorded_and_its_folder_gone(prepared: Site, study: str, work: Path) -> None:
    some = cells(4)
    with Recorder(prepared, study, work, held) as recorder:
        for folder in seal_cells(work, some):
            recorder.publish(folder)
    assert finished(prepared, study) == {cell.key: 1 for cell in some}
    assert recorder.recorded == {cell.key for cell in some}
    assert list(work.iterdir()) == []


def test_what_an_earlier_driver_left_sealed_is_recorded_at_the_start(prepared: Site, study: str, work: Path) -> None:
    some = cells(2)
    seal_cells(work, some)
    with Recorder(prepared, study, work, held) as recorder:
        recorder.flush()
        assert recorder.recorded == {cell.key for cell in some}
    assert ledger.read(prepared, study).finished.keys() == recorder.recorded


def test_a_folder_whose_cell_is_recorded_already_goes_and_adds_no_run(
    prepared: Site, study: str, work: Path, tmp_path: Path
) -> None:
    """As a driver leaves it that is killed when it has finished the run."""
    (cell,) = cells(1)
    (folder,) = seal_cells(work, [cell])
    shutil.copytree(folder, tmp_path / "again")
    with Recorder(prepared, study, work, held):
        pass
    (tmp_path / "again").rename(folder)
    with Recorder(prepared, study, work, held) as recorder:
        pass
    assert finished(prepared, study) == {cell.key: 1}
    assert recorder.recorded == {cell.key}
    assert list(work.iterdir()) == []


def test_what_is_not_sealed_stays(prepared: Site, study: str, work: Path) -> None:
    (folder,) = seal_cells(work, cells(1))
    (folder / MANIFEST).unlink()
    with Recorder(prepared, study, work, held) as recorder:
        recorder.flush()
    assert recorder.recorded == set()
    assert (folder / "outcome.json").exists()


def test_a_cell_counts_as_recorded_only_when_its_run_is_finished(prepared: Site, study: str, work: Path) -> None:
    (cell,) = cells(1)
    seen: list[set[str]] = []
    with Recorder(prepared, study, work, held) as recorder:
        recorder.do(lambda: seen.append(set(recorder.recorded)))
        recorder.publish(seal_cells(work, [cell])[0])
        recorder.do(lambda: seen.append(set(recorder.recorded)))
    assert seen == [set(), {cell.key}]


def test_the_record_is_written_in_turn_by_one_thread(prepared: Site, study: str, work: Path) -> None:
    turns: list[tuple[int, int]] = []
    with Recorder(prepared, study, work, held) as recorder:
        for number in range(50):
            recorder.do(lambda number=number: turns.append((number, threading.get_ident())))
    assert [number for number, _ in turns] == list(range(50))
    assert len({thread for _, thread in turns} | {threading.get_ident()}) == 2


def test_drivers_killed_while_they_publish_leave_one_run_per_cell_and_one_point_per_epoch(
    prepared: Site, study: str, work: Path, publish: Callable[[int], str]
) -> None:
    draws, some = random.Random(3), cells(24)
    seal_cells(work, some[:2])
    calls = int(publish(0))
    for place in range(2, len(some), 2):
        seal_cells(work, some[place : place + 2])
        assert publish(draws.randrange(1, calls)) == "killed"
        assert finished(prepared, study) == dict.fromkeys(ledger.read(prepared, study).finished, 1)
    with Recorder(prepared, study, work, held):
        pass
    assert finished(prepared, study) == {cell.key: 1 for cell in some}
    client = store.client_of(prepared.tracking)
    for run in store.runs(prepared, study):
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "train_loss")]
        assert steps == [1, 2]
    assert list(sealed(work)) == []


def test_a_store_that_stays_away_surfaces_and_the_folders_stay(away: Site, study: str, work: Path) -> None:
    folders = seal_cells(work, cells(2))
    recorder = Recorder(away, study, work, held)
    with pytest.raises(ConnectionError, match=r"MLflow at http://127.0.0.1:9 .*run the same command again"), recorder:
        recorder.flush()
    with pytest.raises(ConnectionError):
        recorder.check()
    assert recorder.recorded == set()
    assert list(sealed(work)) == sorted(folders)


def test_an_error_that_nobody_asked_for_surfaces_at_the_end(away: Site, study: str, work: Path) -> None:
    seal_cells(work, cells(1))
    with pytest.raises(ConnectionError), Recorder(away, study, work, held):
        pass


def test_nothing_is_recorded_after_an_error(prepared: Site, study: str, work: Path) -> None:
    recorder, later = Recorder(prepared, study, work, held), list[int]()
    recorder.do(lambda: later.append(1 // 0))
    recorder.do(lambda: later.append(1))
    with pytest.raises(ZeroDivisionError), recorder:
        recorder.flush()
    assert later == []


def test_an_interrupted_driver_does_not_wait_for_a_store_that_is_away(away: Site, study: str, work: Path) -> None:
    """Or this test takes an hour."""
    (folder,) = seal_cells(work, cells(1))
    with pytest.raises(KeyboardInterrupt), Recorder(replace(away, patience=3600), study, work, held):
        raise KeyboardInterrupt
    assert list(sealed(work)) == [folder]


def test_an_interrupted_driver_begins_nothing_more(prepared: Site, study: str, work: Path) -> None:
    recorder, later = Recorder(prepared, study, work, held), list[int]()
    recorder.do(lambda: print(recorder._stop.wait(60)))
    recorder.do(lambda: later.append(1))
    with pytest.raises(KeyboardInterrupt), recorder:
        raise KeyboardInterrupt
    assert later == []


def test_a_driver_that_lost_its_study_records_nothing(prepared: Site, study: str, work: Path) -> None:
    (folder,) = seal_cells(work, cells(1))
    with pytest.raises(LeaseLostError), Recorder(prepared, study, work, lost):
        pass
    assert finished(prepared, study) == {}
    assert list(sealed(work)) == [folder]


def test_a_driver_that_lost_its_study_does_not_wait_for_its_folders(prepared: Site, study: str, work: Path) -> None:
    seal_cells(work, cells(1))
    recorder = Recorder(replace(prepared, patience=10), study, work, lost)
    recorder.do(lambda: os.rename(work, work.with_name("work-2")))
    with pytest.raises(LeaseLostError), recorder:
        recorder.flush()


def open_runs(site: Site, study: str) -> list[str]:
    """Ids of the study's runs that are still open."""
    client = store.client_of(site.tracking)
    return [run.info.run_id for run in store.search(client, [store.experiment_of(client, study)], RUNNING)]


def test_epochs_of_a_cell_in_training_are_shown_once_each_and_give_way_to_its_record(
    prepared: Site, study: str, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "_SECONDS_BETWEEN_LOOKS", 0.05)
    cell = cells(1)[0]
    folder = work / cell.key
    folder.mkdir()
    with Recorder(prepared, study, work, held) as recorder:
        for count in (1, 3):
            write_whole(folder / CURVE, Curve(cell=cell, epochs=epochs(0.1, 0.2, 0.3)[:count]).to_json().encode())
            wait_until(lambda: [len(points(prepared, run)) for run in open_runs(prepared, study)] == [count])  # noqa: B023
        assert points(prepared, open_runs(prepared, study)[0]) == [(1, 0.1), (2, 0.2), (3, 0.3)]
        (folder / CURVE).unlink()
        recorder.publish(seal_cells(work, [cell])[0])
        recorder.flush()
        assert open_runs(prepared, study) == []
    assert finished(prepared, study) == {cell.key: 1}


def points(site: Site, run_id: str) -> list[tuple[int, float]]:
    return store.curves(site, run_id, ["val_accuracy"])["val_accuracy"]


def wait_until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not true():
        assert time.monotonic() < limit, "it never came"
        time.sleep(0.02)
