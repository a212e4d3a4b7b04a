"""In which order a sweep's jobs come, what each waits for, and what becomes of it when that fails."""

import threading

import pytest
from queueing import CELL, SEARCH, Begin, heir, keys, seeds

from sweeper.cell import LrSearch
from sweeper.grid import source_key
from sweeper.job import CellJob, RateJob


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


def test_a_search_goes_on_before_the_ready_cells_run_out(begin: Begin) -> None:
    """Though its own cells, of which there are many, would fill the time: they wait for it."""
    quick = seeds(40, CELL.replace(lr=LrSearch(low=1e-4, high=1e-1, trials=8), epochs=2))
    queue = begin([*quick, *seeds(4, CELL.replace(epochs=2))], slots=2)
    for _ in range(4):
        queue.finish(queue.take_trial())
    assert isinstance(queue.take(), RateJob)


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


def test_of_equally_long_searches_the_first_declared_is_begun_first(begin: Begin) -> None:
    cells = [CELL.replace(lr=SEARCH, weight_decay=decay) for decay in (0.3, 0.0, 0.2, 0.1)]
    trials = [job for job in begin(cells, slots=1).finish_all() if isinstance(job, RateJob)]
    assert list(dict.fromkeys(job.ask.setting for job in trials)) == [cell.setting() for cell in cells]


def test_of_equally_long_cells_the_first_declared_comes_first_though_its_rate_was_found_later(begin: Begin) -> None:
    slow, quick = (CELL.replace(lr=SEARCH, weight_decay=decay) for decay in (0.1, 0.2))
    queue = begin([slow, quick], slots=8)
    trials = [queue.take_trial() for _ in range(8)]
    for trial in trials[4:] + trials[:4]:
        queue.finish(trial)
    assert [queue.take_cell().cell for _ in range(2)] == [slow, quick]


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


def test_a_cell_that_failed_in_an_earlier_sweep_but_is_run_again_here_has_heirs(begin: Begin) -> None:
    child = heir(CELL)
    assert keys(begin([child, CELL], lost=[CELL.key]).finish_all()) == [CELL.key, child.key]


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


def test_the_heirs_of_a_cell_that_failed_before_are_given_up(begin: Begin) -> None:
    queue = begin([heir(CELL), CELL.replace(seed=1)], lost=[CELL.key])
    assert keys(queue.finish_all()) == [CELL.replace(seed=1).key]
    assert [failure.error for failure in queue.jobs.failures] == [f"its source, cell {CELL.key}, failed"]


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
