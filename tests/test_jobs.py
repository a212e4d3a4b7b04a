"""The queue driven by hand: jobs are taken and ended as Ray would, against real searches and a real record."""

import io
import random
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import make_site
from recorded import sealed_folder
from rich.console import Console

from sweeper import ledger, store
from sweeper.cell import Cell, LrSearch, make_cell
from sweeper.costs import Costs
from sweeper.grid import source_key
from sweeper.jobs import DIED, CellJob, Job, Jobs, Orders, RateJob, Report, SweepStoppedError
from sweeper.lease import LeaseLostError
from sweeper.ledger import Records
from sweeper.live import Progress
from sweeper.outcome import ATTEMPTS, Devices, Fault, RateTrial, Trained
from sweeper.rates import Searches
from sweeper.recording import Recorder
from sweeper.site import Site

SEARCH = LrSearch(low=1e-4, high=1e-1, trials=4, method="grid")
CELL = make_cell(dataset="digits", model="cbr_mini", lr=1e-3, size=8)


@dataclass(frozen=True, kw_only=True)
class Queue:
    """A queue, what it writes to, and the ways in which a job can end."""

    jobs: Jobs
    recorder: Recorder
    site: Site
    study: str

    def take(self) -> Job:
        job = self.jobs.next()
        assert job is not None
        return job

    def take_cell(self) -> CellJob:
        job = self.take()
        assert isinstance(job, CellJob)
        return job

    def take_trial(self) -> RateJob:
        job = self.take()
        assert isinstance(job, RateJob)
        return job

    def finish(self, job: Job, seconds: float = 1.0) -> None:
        """Ends a job well; a rate trial's score is best at 1e-3."""
        if isinstance(job, CellJob):
            sealed_folder(job.folder, job.cell, lr=job.lr)
            told = Trained(seconds=seconds, spent=seconds, epochs=job.cell.recipe.epochs)
        else:
            told = RateTrial(scores=(1 - abs(job.ask.lr - 1e-3),), diverged=None, seconds=seconds)
        self.jobs.ended(job, Report(told=told))

    def diverge(self, job: RateJob) -> None:
        self.jobs.ended(job, Report(told=RateTrial(scores=(), diverged="epoch 1", seconds=1.0)))

    def fail(self, job: Job, error: str = "ValueError: no", fault: Fault = "own") -> None:
        self.jobs.ended(job, Report(error=f"Traceback ...\n{error}", fault=fault))

    def finish_all(self) -> list[Job]:
        """Ends all that is left well, one at a time, in the order in which it was taken."""
        taken: list[Job] = []
        while self.jobs.left:
            self.recorder.flush()
            job = self.jobs.next()
            assert job or not self.jobs.left, "it waits for ever"
            if job:
                self.finish(job)
                taken.append(job)
        return taken

    def records(self) -> Records:
        self.recorder.flush()
        return ledger.read(self.site, self.study)


Begin = Callable[..., Queue]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = make_site(tmp_path_factory.mktemp("store"))
    store.initialise(site, "first")
    return site


@pytest.fixture
def begin(prepared: Site, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Begin]:
    """Begins a queue for cells of this test's own study."""
    study = request.node.name
    store.initialise(prepared, study)
    work = tmp_path / "work-1"
    work.mkdir()
    with ExitStack() as stack:

        def run(
            cells: Sequence[Cell],
            *,
            slots: int = 4,
            attempts: Mapping[str, int] = {},
            lost: Collection[str] = (),
            check_lease: Callable[[], None] = lambda: None,
        ) -> Queue:
            recorder = stack.enter_context(Recorder(prepared, study, work, check_lease))
            silent = Console(file=io.StringIO())
            jobs = Jobs(
                cells,
                Orders(study=study, site=prepared, work=work, devices=Devices(), tags={"sweeper.commit": "abc"}),
                searches=Searches(cells, tmp_path / "rates.db"),
                recorder=recorder,
                costs=Costs(),
                slots=slots,
                attempts=attempts,
                lost=lost,
                progress=(Progress("trials", 1, silent), Progress("cells", 1, silent)),
                check_lease=check_lease,
            )
            return Queue(jobs=jobs, recorder=recorder, site=prepared, study=study)

        yield run


def seeds(count: int, cell: Cell = CELL) -> list[Cell]:
    return [cell.replace(seed=seed) for seed in range(count)]


def heir(source: Cell, **values: object) -> Cell:
    return CELL.replace(source=f"cell:{source.key}", **values)


def keys(jobs: Sequence[Job]) -> list[str]:
    return [job.cell.key for job in jobs if isinstance(job, CellJob)]


def test_a_cell_with_a_fixed_rate_is_ready_at_once(begin: Begin) -> None:
    job = begin([CELL]).take_cell()
    assert (job.cell, job.lr, job.parts) == (CELL, 1e-3, 1)


def test_a_finished_cell_is_recorded_and_nothing_is_left(begin: Begin) -> None:
    queue = begin([CELL])
    queue.finish(queue.take())
    assert not queue.jobs.left
    assert queue.jobs.next() is None
    assert queue.records().finished.keys() == {CELL.key}


def test_a_running_cell_is_left(begin: Begin) -> None:
    queue = begin([CELL])
    queue.take()
    assert queue.jobs.next() is None
    assert queue.jobs.left


def test_the_cells_of_a_setting_come_after_all_its_trials_at_the_rate_that_was_found(begin: Begin) -> None:
    cells = seeds(3, CELL.replace(lr=SEARCH))
    taken = begin(cells).finish_all()
    assert [type(job) for job in taken] == [RateJob] * 4 + [CellJob] * 3
    assert [job.lr for job in taken if isinstance(job, CellJob)] == pytest.approx([1e-3] * 3)
    assert keys(taken) == [cell.key for cell in cells]


def test_no_cell_comes_while_a_trial_of_its_setting_runs(begin: Begin) -> None:
    queue = begin([CELL.replace(lr=SEARCH)])
    trials = [queue.take_trial() for _ in range(4)]
    for trial in trials:
        assert queue.jobs.next() is None
        queue.finish(trial)
    assert queue.take_cell().cell.recipe.lr == SEARCH


def test_the_cells_of_a_setting_start_while_the_trials_of_another_run(begin: Begin) -> None:
    queue = begin([CELL.replace(lr=SEARCH, depth=depth) for depth in (2, 1)])
    trials = [queue.take_trial() for _ in range(8)]
    for trial in trials[4:]:
        queue.finish(trial)
    assert queue.take_cell().cell.network.depth == 1


def test_the_cells_of_a_setting_start_before_others_are_searched(begin: Begin) -> None:
    settings = [seeds(3, CELL.replace(lr=SEARCH, depth=depth)) for depth in (1, 2, 3)]
    taken = begin([cell for cells in settings for cell in cells], slots=1).finish_all()
    first_cell = next(place for place, job in enumerate(taken) if isinstance(job, CellJob))
    assert any(isinstance(job, RateJob) for job in taken[first_cell:])


def test_a_search_that_would_hold_up_the_end_goes_before_ready_cells(begin: Begin) -> None:
    """Its last trials come one after another, and only then its cells."""
    slow = CELL.replace(lr=LrSearch(low=1e-4, high=1e-1, trials=8), epochs=10)
    queue = begin([slow, *seeds(4)], slots=2)
    first = [queue.take_trial() for _ in range(4)]
    for trial in first:
        queue.finish(trial)
    assert isinstance(queue.take(), RateJob)
    assert isinstance(queue.take(), CellJob)


def test_a_search_that_can_wait_lets_ready_cells_go_first(begin: Begin) -> None:
    queue = begin([CELL.replace(lr=SEARCH, epochs=1), *seeds(9, CELL.replace(epochs=50))], slots=2)
    queue.take_cell()


def test_the_longest_cell_comes_first(begin: Begin) -> None:
    cells = [CELL.replace(epochs=epochs) for epochs in (2, 9, 1, 5)]
    taken = begin(cells).finish_all()
    assert [job.cell.recipe.epochs for job in taken if isinstance(job, CellJob)] == [9, 5, 2, 1]


def test_of_equally_long_cells_the_first_declared_comes_first(begin: Begin) -> None:
    cells = [CELL.replace(seed=seed) for seed in (3, 0, 2, 1)]
    assert keys(begin(cells).finish_all()) == [cell.key for cell in cells]


def test_what_was_measured_changes_which_cell_is_the_longest(begin: Begin) -> None:
    quick, slow = CELL, CELL.replace(model="resnet50")
    cells = [quick.replace(epochs=10), slow.replace(epochs=9), quick.replace(epochs=8), slow.replace(epochs=2)]
    queue = begin(cells)
    first, second = queue.take_cell(), queue.take_cell()
    queue.finish(first, seconds=1)
    queue.finish(second, seconds=90)
    assert [queue.take_cell().cell, queue.take_cell().cell] == [cells[3], cells[2]]


def test_the_setting_with_the_longest_way_to_go_is_searched_first(begin: Begin) -> None:
    cells = [CELL.replace(lr=SEARCH, epochs=epochs) for epochs in (2, 9, 5)]
    queue = begin(cells)
    assert queue.take_trial().ask.cell.recipe.epochs == 9


def test_an_heir_comes_only_after_its_source_is_recorded(begin: Begin) -> None:
    child = heir(CELL)
    queue, go_on = begin([child, CELL]), threading.Event()
    job = queue.take_cell()
    assert job.cell == CELL
    queue.recorder.do(lambda: print(go_on.wait(60)))
    queue.finish(job)
    assert queue.jobs.next() is None
    assert queue.jobs.left
    go_on.set()
    queue.recorder.flush()
    assert queue.take_cell().cell == child


def test_an_heir_of_a_cell_that_is_not_to_be_run_is_ready_at_once(begin: Begin) -> None:
    child = heir(CELL)
    assert begin([child]).take_cell().cell == child


def test_a_rate_is_searched_on_a_cell_that_needs_no_source(begin: Begin) -> None:
    """Though its heir comes first in the alphabet, and shares the rate."""
    search = LrSearch(low=1e-4, high=1e-1, trials=2, share=("seed", "source"))
    first = CELL.replace(lr=search)
    second = heir(first, lr=search)
    third = heir(second, lr=search)
    taken = begin([third, second, first]).finish_all()
    assert [job.ask.cell for job in taken if isinstance(job, RateJob)] == [first, first]
    assert keys(taken) == [first.key, second.key, third.key]


def test_a_search_waits_for_what_its_cell_starts_from(begin: Begin) -> None:
    search = LrSearch(low=1e-4, high=1e-1, trials=2, share=("seed", "source"))
    heirs = [heir(CELL.replace(seed=seed), lr=search) for seed in (1, 2)]
    queue = begin([*heirs, *seeds(3)])
    taken = queue.finish_all()
    (on,) = {job.ask.cell for job in taken if isinstance(job, RateJob)}
    recorded = [place for place, job in enumerate(taken) if isinstance(job, CellJob) and job.cell.key == source_key(on)]
    assert recorded < [place for place, job in enumerate(taken) if isinstance(job, RateJob)]
    assert queue.jobs.failures == []


def test_a_search_whose_source_failed_is_given_up(begin: Begin) -> None:
    search = LrSearch(low=1e-4, high=1e-1, trials=2, share=("seed", "source"))
    sources = seeds(2)
    heirs = {source.key: heir(source, lr=search) for source in sources}
    searched = min(heirs)
    queue = begin([*heirs.values(), *sources])
    for _ in sources:
        job = queue.take_cell()
        if job.cell.key == searched:
            queue.fail(job)
        else:
            queue.finish(job)
    assert queue.finish_all() == []
    told = {failure.cell.key: failure.error for failure in queue.jobs.failures}
    assert told.keys() == {searched, *(child.key for child in heirs.values())}
    assert told[heirs[searched].key] == f"its source, cell {searched}, failed"
    (other,) = heirs.keys() - {searched}
    assert told[heirs[other].key] == f"the source of its rate search, cell {searched}, failed"


def test_the_heirs_of_a_failed_cell_fail_and_name_it(begin: Begin) -> None:
    child = heir(CELL)
    grandchild = heir(child)
    queue = begin([CELL, child, grandchild])
    queue.fail(queue.take())
    assert not queue.jobs.left
    told = {failure.cell.key: failure.error for failure in queue.jobs.failures}
    assert told.keys() == {CELL.key, child.key, grandchild.key}
    assert told[child.key] == f"its source, cell {CELL.key}, failed"
    assert told[grandchild.key] == f"its source, cell {child.key}, failed"
    assert queue.records().failed.keys() == {CELL.key}


def test_the_heirs_of_a_cell_that_failed_before_are_given_up(begin: Begin) -> None:
    queue = begin([heir(CELL), CELL.replace(seed=1)], lost=[CELL.key])
    assert keys(queue.finish_all()) == [CELL.replace(seed=1).key]
    assert [failure.error for failure in queue.jobs.failures] == [f"its source, cell {CELL.key}, failed"]


def test_a_cell_that_failed_in_an_earlier_sweep_but_is_run_again_here_has_heirs(begin: Begin) -> None:
    child = heir(CELL)
    assert keys(begin([child, CELL], lost=[CELL.key]).finish_all()) == [CELL.key, child.key]


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


def test_a_job_begun_again_keeps_its_folder(begin: Begin) -> None:
    queue = begin([CELL])
    job = queue.take()
    job.folder.mkdir()
    (job.folder / "progress.pt").write_bytes(b"epoch 3")
    queue.jobs.ended(job, DIED)
    assert (queue.take().folder / "progress.pt").exists()


def test_a_job_that_failed_for_good_leaves_no_folder(begin: Begin) -> None:
    queue = begin([CELL])
    job = queue.take()
    job.folder.mkdir()
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


def test_a_search_that_has_ended_before_is_not_repeated(begin: Begin) -> None:
    cells = seeds(2, CELL.replace(lr=SEARCH))
    begin(cells[:1]).finish_all()
    (job,) = begin(cells[1:]).finish_all()
    assert isinstance(job, CellJob)
    assert job.lr == pytest.approx(1e-3)


def test_an_interrupted_search_goes_on(begin: Begin) -> None:
    cell = CELL.replace(lr=SEARCH)
    first = begin([cell])
    first.finish(first.take())
    running = first.take_trial()
    taken = begin([cell]).finish_all()
    assert len(taken) == 3 + 1
    assert isinstance(taken[0], RateJob)
    assert (taken[0].ask.number, taken[0].ask.lr) == (running.ask.number, running.ask.lr)


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


@dataclass(frozen=True, kw_only=True)
class Draw:
    """A study and the ends of its jobs, drawn from a seed."""

    draws: random.Random

    def cells(self) -> list[Cell]:
        """Cells with fixed and searched rates, some of which start from others, some from no cell of the study."""
        cells: list[Cell] = []
        for seed in range(self.draws.randint(3, 9)):
            share = self.draws.choice([("seed",), ("seed", "source"), ("seed", "epochs", "source")])
            search = LrSearch(low=1e-4, high=1e-1, trials=self.draws.randint(1, 4), share=share)
            sources = [CELL.replace(seed=99), *cells]
            cells += [
                CELL.replace(
                    seed=seed,
                    lr=self.draws.choice([1e-3, search]),
                    epochs=self.draws.choice([1, 1, 7]),
                    source=self.draws.choice(["random", "random", *(f"cell:{each.key}" for each in sources)]),
                )
            ]
        return self.draws.sample(cells, len(cells))

    def end(self, queue: Queue, job: Job) -> None:
        way = self.draws.choices(["finish", "died", "memory", "own", "diverge"], weights=[12, 3, 1, 1, 1])[0]
        kind = self.draws.choice(["ValueError", "KeyError", "IndexError"])
        match way:
            case "died":
                queue.jobs.ended(job, DIED)
            case "diverge" if isinstance(job, RateJob):
                queue.diverge(job)
            case "memory":
                queue.fail(job, fault="memory")
            case "own":
                queue.fail(job, f"{kind}: no")
            case _:
                queue.finish(job, seconds=self.draws.lognormvariate(0, 2))


def require_runnable(job: Job, cells: Sequence[Cell], queue: Queue) -> None:
    """What a job starts from is recorded, and a cell's rate is that of its setting."""
    cell = job.cell if isinstance(job, CellJob) else job.ask.cell
    declared = {each.key for each in cells}
    source = source_key(cell)
    assert source not in declared or source in ledger.read(queue.site, queue.study).finished
    if isinstance(job, RateJob):
        assert SEARCH.low <= job.ask.lr <= SEARCH.high
    elif isinstance(cell.recipe.lr, LrSearch):
        search = Searches(cells, job.folder.parents[1] / "rates.db").open(cell.setting())
        assert (search.left, search.found()) == (0, job.lr)
    else:
        assert job.lr == cell.recipe.lr


def run_at_random(queue: Queue, cells: Sequence[Cell], draw: Draw) -> None:
    """Takes and ends jobs in any order; with nothing running and everything recorded there is always a next one."""
    running: list[Job] = []
    slots = draw.draws.randint(1, 5)
    while queue.jobs.left:
        if running and (len(running) == slots or draw.draws.random() < 0.5):
            draw.end(queue, running.pop(draw.draws.randrange(len(running))))
            continue
        if not running:
            queue.recorder.flush()
        job = queue.jobs.next()
        if job is None:
            assert running or not queue.jobs.left
        else:
            assert job.name not in {each.name for each in running}
            require_runnable(job, cells, queue)
            running.append(job)
    assert not running


def require_each_cell_ended_once(cells: Sequence[Cell], queue: Queue) -> None:
    ends = Counter(failure.cell.key for failure in queue.jobs.failures)
    records = queue.records()
    assert not ends.keys() & records.finished.keys()
    assert ends | Counter(records.finished.keys()) == Counter(cell.key for cell in cells)
    orphans = {each.cell.key for each in queue.jobs.failures if ", failed" in each.error}
    assert records.failed.keys() == ends.keys() - orphans
    runs = [run.data.tags[store.KEY] for run in store.runs(queue.site, queue.study)]
    assert sorted(runs) == sorted(records.finished)


@pytest.mark.parametrize("seed", range(6))
def test_every_cell_of_any_study_ends_once_whatever_becomes_of_its_jobs(begin: Begin, seed: int) -> None:
    draw = Draw(draws=random.Random(seed))
    cells = draw.cells()
    queue = begin(cells, slots=3)
    run_at_random(queue, cells, draw)
    if queue.jobs.stopped is None:
        require_each_cell_ended_once(cells, queue)
    else:
        assert isinstance(queue.jobs.stopped, SweepStoppedError)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 200))
def test_every_cell_of_any_of_many_studies_ends_once(begin: Begin, seed: int) -> None:
    test_every_cell_of_any_study_ends_once_whatever_becomes_of_its_jobs(begin, seed)
