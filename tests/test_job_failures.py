"""What follows when a job fails, and what stops a sweep."""

import threading
from pathlib import Path

import pytest
from queueing import CELL, SEARCH, Begin, keys, seeds
from recorded import sealed_folder

from sweeper import ledger
from sweeper.cell import Cell, LrSearch
from sweeper.job import DIED, RateJob
from sweeper.lease import LeaseLostError
from sweeper.outcome import ATTEMPTS
from sweeper.rates import Searches
from sweeper.stopping import SweepStoppedError
from sweeper.work import take_over, write_whole


def test_a_cell_whose_process_died_is_begun_three_times(begin: Begin) -> None:
    queue = begin([CELL])
    for _ in range(ATTEMPTS):
        queue.jobs.ended(queue.take_cell(), DIED)
    assert not queue.jobs.left
    failed = queue.records().failed[CELL.key]
    assert (failed.fault, failed.attempts) == ("system", ATTEMPTS) == ("system", 3)


def test_attempts_of_earlier_runs_count(begin: Begin) -> None:
    queue = begin([CELL], attempts={CELL.key: ATTEMPTS - 1})
    queue.jobs.ended(queue.take(), DIED)
    assert not queue.jobs.left
    assert queue.records().failed[CELL.key].attempts == ATTEMPTS


def test_a_cell_that_died_twice_may_still_finish(begin: Begin) -> None:
    queue = begin([CELL])
    for _ in range(ATTEMPTS - 1):
        queue.jobs.ended(queue.take(), DIED)
    queue.finish(queue.take())
    assert queue.records().failed == {}
    assert queue.jobs.failures == []


def test_a_worker_that_is_only_out_of_reach_finds_no_folder_for_a_cell_that_another_has(begin: Begin) -> None:
    queue = begin([CELL])
    lost = queue.take_cell()
    write_whole(lost.folder / "progress.pt", b"epoch 3")
    queue.jobs.ended(lost, DIED)
    again = queue.take_cell()
    assert (again.folder / "progress.pt").read_bytes() == b"epoch 3"
    with pytest.raises(FileNotFoundError):
        write_whole(lost.folder / "progress.pt", b"epoch 4")
    queue.finish(again)
    assert queue.records().finished.keys() == {CELL.key}


def test_what_a_lost_cell_had_come_to_is_gone_on_with_by_the_next_driver(begin: Begin, tmp_path: Path) -> None:
    queue = begin([CELL])
    for epoch in (b"1", b"2"):
        job = queue.take_cell()
        write_whole(job.folder / "progress.pt", epoch)
        queue.jobs.ended(job, DIED)
    (tmp_path / "work-1" / CELL.key).mkdir()  # a worker out of reach that came late
    (tmp_path / "work-1" / CELL.key / "progress.pt").write_bytes(b"0")
    work = take_over(tmp_path, 2)
    assert [path.name for path in work.iterdir()] == [CELL.key]
    assert (work / CELL.key / "progress.pt").read_bytes() == b"2"


def test_a_setting_whose_trial_died_three_times_fails_with_its_attempts(begin: Begin) -> None:
    cells = seeds(2, CELL.replace(lr=SEARCH))
    queue = begin(cells)
    for _ in range(ATTEMPTS):
        queue.jobs.ended(queue.take_trial(), DIED)
    assert not queue.jobs.left
    failed = queue.records().failed
    assert {key: (each.fault, each.attempts) for key, each in failed.items()} == {
        cell.key: ("system", ATTEMPTS) for cell in cells
    }


def test_a_cell_whose_process_died_after_its_last_file_is_finished(begin: Begin) -> None:
    queue = begin([CELL], attempts={CELL.key: ATTEMPTS - 1})
    job = queue.take_cell()
    sealed_folder(job.folder, CELL)
    queue.jobs.ended(job, DIED)
    assert not queue.jobs.left
    assert queue.records().finished.keys() == {CELL.key}


def test_a_job_begun_again_keeps_its_folder(begin: Begin) -> None:
    queue = begin([CELL])
    job = queue.take()
    (job.folder / "progress.pt").write_bytes(b"epoch 3")
    queue.jobs.ended(job, DIED)
    assert (queue.take().folder / "progress.pt").exists()


def test_a_job_that_failed_for_good_leaves_no_folder(begin: Begin) -> None:
    queue = begin([CELL])
    job = queue.take()
    (job.folder / "progress.pt").write_bytes(b"epoch 3")
    queue.fail(job)
    assert list(job.folder.parent.iterdir()) == []


@pytest.mark.parametrize("cell", [CELL, CELL.replace(lr=LrSearch(low=1e-4, high=1e-1, trials=1))])
def test_a_job_too_large_for_the_device_is_begun_once_more_in_two_parts(begin: Begin, cell: Cell) -> None:
    queue = begin([cell])
    queue.fail(queue.take(), "OutOfMemoryError: 2 GiB", "memory")
    job = queue.take()
    assert job.parts == 2
    queue.fail(job, "OutOfMemoryError: 1 GiB", "memory")
    assert not queue.jobs.left
    assert queue.records().failed[cell.key].fault == "memory"


def test_a_cell_in_two_parts_stays_in_two_parts_when_its_process_died(begin: Begin) -> None:
    queue = begin([CELL])
    queue.fail(queue.take(), fault="memory")
    queue.jobs.ended(queue.take(), DIED)
    assert queue.take().parts == 2


def test_a_cell_that_failed_by_itself_is_not_begun_again(begin: Begin) -> None:
    queue = begin([CELL])
    queue.fail(queue.take(), "ValueError: loss is nan")
    assert not queue.jobs.left
    failed = queue.records().failed[CELL.key]
    assert (failed.fault, failed.attempts) == ("own", 1)
    assert failed.error.endswith("ValueError: loss is nan")


def test_a_trial_that_failed_by_itself_fails_the_cells_of_its_setting(begin: Begin) -> None:
    cells, other = seeds(2, CELL.replace(lr=SEARCH)), CELL.replace(seed=7)
    queue = begin([*cells, other])
    queue.fail(queue.take_trial())
    assert keys(queue.finish_all()) == [other.key]
    assert queue.records().failed.keys() == {cell.key for cell in cells}


def test_trials_that_still_ran_when_their_setting_failed_may_end_in_any_way(begin: Begin) -> None:
    queue = begin([CELL.replace(lr=SEARCH)])
    trials = [queue.take_trial() for _ in range(4)]
    queue.fail(trials[0])
    queue.finish(trials[1])
    queue.fail(trials[2])
    queue.diverge(trials[3])
    assert not queue.jobs.left
    assert queue.jobs.stopped is None
    assert len(queue.jobs.failures) == 1


def test_a_trial_that_waits_to_be_begun_again_goes_with_its_setting(begin: Begin) -> None:
    queue = begin([CELL.replace(lr=SEARCH)])
    died, failed = queue.take_trial(), queue.take_trial()
    queue.jobs.ended(died, DIED)
    queue.fail(failed)
    assert queue.jobs.next() is None
    assert not queue.jobs.left


def test_a_full_disk_stops_the_sweep_and_fails_no_cell(begin: Begin) -> None:
    queue = begin(seeds(3))
    first, second = queue.take(), queue.take()
    queue.fail(first, "OSError: [Errno 28] No space left on device", "storage")
    assert queue.jobs.next() is None
    assert queue.jobs.left  # the second runs
    queue.finish(second)
    assert not queue.jobs.left
    assert queue.records().failed == {}
    assert queue.records().finished.keys() == set(keys([second]))
    with pytest.raises(SweepStoppedError, match=r"takes no more: OSError: \[Errno 28\].*run the same command again"):
        raise queue.jobs.stopped or AssertionError


def test_a_cell_whose_worker_did_not_reach_the_storage_is_begun_elsewhere_with_what_it_had(begin: Begin) -> None:
    queue = begin([CELL])
    for number in range(ATTEMPTS - 1):
        job = queue.take_cell()
        assert job.moves == number
        write_whole(job.folder / "progress.pt", b"epoch 3")
        queue.fail(job, "StorageAwayError: node7 did not reach", "away")
    job = queue.take_cell()
    assert (job.folder / "progress.pt").read_bytes() == b"epoch 3"
    queue.finish(job)
    assert queue.records().failed == {}
    assert queue.records().finished.keys() == {CELL.key}


@pytest.mark.parametrize("cell", [CELL, CELL.replace(lr=SEARCH)])
def test_a_storage_that_stays_out_of_reach_stops_the_sweep_and_fails_no_cell(begin: Begin, cell: Cell) -> None:
    queue = begin([cell])
    for _ in range(ATTEMPTS):
        job = queue.take()
        queue.fail(job, "StorageAwayError: node7 did not reach it", "away")
    assert queue.jobs.next() is None
    assert queue.records().failed == {}
    assert job.folder.exists()
    with pytest.raises(SweepStoppedError, match=r"reach 3 times: .*node7.*run the same command again"):
        raise queue.jobs.stopped or AssertionError


def test_five_cells_that_fail_first_and_alike_stop_the_sweep(begin: Begin) -> None:
    queue = begin(seeds(7))
    for number in range(5):
        assert queue.jobs.stopped is None
        job = queue.take_cell()
        queue.fail(job, f"ValueError: cell {job.cell.key}: loss {number}.5e-3 in epoch {number + 9}")
    assert queue.jobs.next() is None
    assert not queue.jobs.left
    assert len(queue.records().failed) == 5
    with pytest.raises(SweepStoppedError, match=r"first 5 cells failed in the same way.*ValueError: cell"):
        raise queue.jobs.stopped or AssertionError


def test_four_cells_that_fail_alike_do_not_stop_the_sweep(begin: Begin) -> None:
    queue = begin(seeds(5))
    for _ in range(4):
        queue.fail(queue.take())
    queue.finish(queue.take())
    assert queue.jobs.stopped is None
    assert (len(queue.jobs.failures), len(queue.records().finished)) == (4, 1)


@pytest.mark.parametrize("good", range(5))
def test_a_success_among_the_first_five_keeps_the_sweep_going(begin: Begin, good: int) -> None:
    queue = begin(seeds(8))
    for number in range(8):
        job = queue.take()
        queue.finish(job) if number == good else queue.fail(job)
    assert queue.jobs.stopped is None
    assert len(queue.jobs.failures) == 7


def test_five_failures_of_different_kinds_do_not_stop_the_sweep(begin: Begin) -> None:
    queue = begin(seeds(6))
    for number in range(6):
        queue.fail(queue.take(), "KeyError: label" if number == 3 else "ValueError: label")
    assert queue.jobs.stopped is None


def test_a_setting_whose_rates_all_diverge_fails_its_cells_and_says_what_to_do(begin: Begin) -> None:
    cells = seeds(6, CELL.replace(lr=SEARCH))
    queue = begin(cells)
    for _ in range(4):
        queue.diverge(queue.take_trial())
    assert not queue.jobs.left
    failed = queue.records().failed
    assert failed.keys() == {cell.key for cell in cells}
    assert {each.fault for each in failed.values()} == {"own"}
    (error,) = {each.error for each in failed.values()}
    assert error.startswith("every one of the 4 learning rates tried from 0.0001 to 0.1 diverged; declare")


@pytest.mark.parametrize("way", ["diverge", "fail"])
def test_a_setting_without_a_rate_counts_once_towards_the_five(begin: Begin, way: str) -> None:
    search = LrSearch(low=1e-4, high=1e-1, trials=2, method="grid")
    settings = [seeds(3, CELL.replace(lr=search, epochs=epochs)) for epochs in range(1, 7)]
    queue = begin([cell for cells in settings for cell in cells])
    for number in range(1, 6):
        assert queue.jobs.stopped is None
        for trial in (queue.take_trial(), queue.take_trial()):
            getattr(queue, way)(trial)
        assert len(queue.jobs.failures) == 3 * number
    assert isinstance(queue.jobs.stopped, SweepStoppedError)
    assert queue.jobs.next() is None


def test_five_settings_known_to_have_no_rate_stop_the_sweep_before_anything_is_begun(begin: Begin) -> None:
    search = LrSearch(low=1e-4, high=1e-1, trials=1)
    cells = [CELL.replace(lr=search, epochs=epochs) for epochs in range(1, 6)]
    first = begin(cells)
    while first.jobs.left:
        first.diverge(first.take_trial())
    again = begin([*cells, CELL.replace(lr=search, epochs=6)])  # which stands behind, because all before are longer
    assert again.take_trial().ask.cell.recipe.epochs == 6
    again = begin([*cells, CELL.replace(lr=search, epochs=1, depth=1)])
    assert again.jobs.next() is None
    assert isinstance(again.jobs.stopped, SweepStoppedError)


def test_a_driver_that_lost_its_study_begins_and_records_nothing_more(begin: Begin) -> None:
    gone = threading.Event()

    def check() -> None:
        if gone.is_set():
            raise LeaseLostError("taken over")

    cells = [CELL.replace(lr=SEARCH), *seeds(8)]
    queue = begin(cells, check_lease=check, slots=1)
    trained, failing = queue.take_cell(), queue.take_cell()
    while not isinstance(trial := queue.take(), RateJob):
        queue.finish(trial)
    before = queue.records()
    gone.set()
    queue.finish(trained)
    queue.fail(failing)
    queue.finish(trial)
    assert queue.jobs.next() is None
    assert not queue.jobs.left
    assert isinstance(queue.jobs.stopped, LeaseLostError)
    queue.recorder.flush()
    assert ledger.read(queue.site, queue.study) == before
    assert Searches(cells, trial.folder.parents[1] / "rates.db").open(cells[0].setting()).left == 4


def test_a_failure_that_waits_to_be_recorded_is_not_when_the_study_is_lost(begin: Begin) -> None:
    gone, go_on = threading.Event(), threading.Event()

    def check() -> None:
        if gone.is_set():
            raise LeaseLostError("taken over")

    queue = begin([CELL], check_lease=check)
    queue.recorder.do(lambda: print(go_on.wait(60)))
    queue.fail(queue.take())
    gone.set()
    go_on.set()
    with pytest.raises(LeaseLostError):
        queue.recorder.flush()
    assert ledger.read(queue.site, queue.study).failed == {}
    queue.recorder._error = None  # has been raised
