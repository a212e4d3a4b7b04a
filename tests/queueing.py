"""Queues driven by hand: jobs are taken and ended as Ray would, against real searches and a real record."""

import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from recorded import sealed_folder
from rich.console import Console

from sweeper import ledger, store
from sweeper.cell import Cell, LrSearch, make_cell
from sweeper.costs import Costs
from sweeper.job import CellJob, Job, Orders, RateJob, Report
from sweeper.jobs import Jobs
from sweeper.ledger import Records
from sweeper.live import Progress
from sweeper.outcome import Devices, Fault, RateTrial, Trained
from sweeper.rates import Searches
from sweeper.recording import Recorder
from sweeper.site import Site

ALONE = Devices()
SEARCH = LrSearch(low=1e-4, high=1e-1, trials=4, method="grid")
CELL = make_cell(dataset="digits", model="cbr_mini", lr=1e-3, size=8)


@dataclass(frozen=True, kw_only=True)
class Queue:
    """A queue, what it writes to, and the ways in which a job can end."""

    jobs: Jobs
    recorder: Recorder
    site: Site
    study: str

    def take(self, node: str = "") -> Job:
        job = self.jobs.next(node)
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

    def finish(self, job: Job, seconds: float = 1.0, node: str = "") -> None:
        """Ends a job well; a rate trial's score is best at 1e-3."""
        if isinstance(job, CellJob):
            sealed_folder(job.folder, job.cell, lr=job.lr)
            told = Trained(seconds=seconds, spent=seconds, epochs=job.cell.recipe.epochs)
        else:
            told = RateTrial(scores=(1 - abs(job.ask.lr - 1e-3),), diverged=None, seconds=seconds)
        self.jobs.ended(job, Report(told=told, node=node))

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


@contextmanager
def queues(site: Site, study: str, folder: Path) -> Iterator[Begin]:
    """Begins queues of one study, whose files lie in a folder; the one before ends."""
    store.initialise(site, study)
    work = folder / "work-1"
    work.mkdir()
    with ExitStack() as stack:

        def run(
            cells: Sequence[Cell],
            *,
            slots: int = 4,
            attempts: Mapping[str, int] = {},
            lost: Collection[str] = (),
            check_lease: Callable[[], None] = lambda: None,
            devices: Devices = ALONE,
        ) -> Queue:
            stack.close()  # one driver at a time
            recorder = stack.enter_context(Recorder(site, study, work, check_lease))
            silent = Console(file=io.StringIO())
            jobs = Jobs(
                cells,
                Orders(study=study, site=site, work=work, devices=devices, tags={"sweeper.commit": "abc"}),
                searches=Searches(cells, folder / "rates.db"),
                recorder=recorder,
                costs=Costs(),
                slots=slots,
                attempts=attempts,
                lost=lost,
                progress=(Progress("trials", 1, silent), Progress("cells", 1, silent)),
                check_lease=check_lease,
            )
            return Queue(jobs=jobs, recorder=recorder, site=site, study=study)

        yield run


def seeds(count: int, cell: Cell = CELL) -> list[Cell]:
    return [cell.replace(seed=seed) for seed in range(count)]


def heir(source: Cell, **values: object) -> Cell:
    return CELL.replace(source=f"cell:{source.key}", **values)


def keys(jobs: Sequence[Job]) -> list[str]:
    return [job.cell.key for job in jobs if isinstance(job, CellJob)]
