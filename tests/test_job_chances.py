"""Studies and ends of jobs drawn at random: whatever happens, every cell ends once."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from queueing import CELL, SEARCH, Begin, Queue

from sweeper import ledger, store
from sweeper.cell import Cell, LrSearch
from sweeper.grid import source_key
from sweeper.job import DIED, CellJob, Job, RateJob
from sweeper.rates import Searches
from sweeper.stopping import SweepStoppedError


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
