"""What a sweep has to do next: rate trials and cells in one queue, and what follows when one of them fails.

A cell is ready as soon as its rate is found and its source is recorded; other searches go on meanwhile. Where and how
jobs are run is `tuning`'s business; nothing here knows Ray.
"""

from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from sweeper import store
from sweeper.affinity import Held
from sweeper.cell import Cell
from sweeper.costs import Costs
from sweeper.grid import source_key
from sweeper.heirs import Heirs
from sweeper.job import (
    CellJob,
    Failure,
    Job,
    Orders,
    RateJob,
    Report,
    Spent,
    cell_of,
    counted_as,
    elsewhere,
    trained_in,
)
from sweeper.live import Progress
from sweeper.order import Order
from sweeper.outcome import ATTEMPTS, Fault, RateTrial, Trained
from sweeper.rates import Search, Searches
from sweeper.recording import Recorder, recording_of
from sweeper.stopping import FirstEnds, StorageError, last_line
from sweeper.work import MANIFEST, discard

_SPEEDS = 16


class Jobs:
    """The queue of one sweep."""

    def __init__(
        self,
        cells: Sequence[Cell],
        orders: Orders,
        *,
        searches: Searches,
        recorder: Recorder,
        costs: Costs,
        slots: int,
        attempts: Mapping[str, int],
        lost: Collection[str],
        progress: tuple[Progress, Progress],
        check_lease: Callable[[], None],
    ) -> None:
        """
        Args:
            cells: those to be run; of equals the first comes first, but a source always before its heirs.
            attempts: key -> how often a cell has already failed with the machine under it.
            lost: keys of cells that failed before and are not run again; their heirs are given up.
            progress: of rate trials, and of cells.
        """
        self.failures: list[Failure] = []
        self.stopped: Exception | None = None
        """Why nothing more is begun."""
        self.spent = Spent()
        self._orders, self._searches, self._recorder = orders, searches, recorder
        self.slots = slots
        """How many run at once."""
        self.rates_found = 0
        self.speeds: deque[float] = deque(maxlen=_SPEEDS)
        """Images per second of the cells that ended last."""
        self._check_lease = check_lease
        self._trials_shown, self._cells_shown = progress
        self._attempts = Counter(attempts)
        self._running: set[str] = set()
        self._again: list[Job] = []
        self._given_up: dict[str, tuple[Search, str, Fault]] = {}
        """Setting -> its search and why no rate will be found by it."""
        self._first_ends = FirstEnds()
        self.held = Held()
        """Which node has read which images."""
        self._order = Order(cells, orders, searches=searches, costs=costs, held=self.held)
        gone = set(lost) - {cell.key for cell in cells}
        self._heirs = Heirs({cell.key for cell in cells} | set(lost))
        for cell in cells:
            if not self._waits(cell, source_key(cell)):
                self._release(cell)
        for key in gone:
            self.failures += self._heirs.lose(key)

    @property
    def left(self) -> bool:
        """Whether anything runs or is still to be begun."""
        idle = not (self._again or self._order.left or self._heirs.left)
        return bool(self._running) or not (idle or self.stopped)

    @property
    def wanted(self) -> int:
        """How many could run at once at most, were there room for them, those that run included."""
        return len(self._running) + len(self._again) + self._order.able

    def next(self, node: str = "") -> Job | None:
        """The next job; None while there is none, which need not last as long as `left`.

        Args:
            node: where it will run, if that is known: of jobs that are nearly as long as the longest, one whose images
                that node has read goes first.
        """
        if not (self._passes(self._check_lease) and self._passes(self._recorder.check)) or self.stopped:
            return None
        for cell in self._heirs.released(self._recorder.recorded):
            self._release(cell)
        job = self._again.pop() if self._again else self._choose(node)
        if job:
            job.folder.mkdir(exist_ok=True)  # here, not in the worker: one that finds none has lost its job to another
            self._running.add(job.name)
            self._shown(job).started()
        return job

    def ended(self, job: Job, report: Report) -> None:
        """Takes in what came of a job, unless the study is another driver's by now."""
        self._running.discard(job.name)
        if report.node:
            self.held.note(report.node, cell_of(job))
        if not self._passes(self._check_lease):
            self._shown(job).back()
            return
        if report.fault and (job.folder / MANIFEST).exists():
            report = Report(told=trained_in(job.folder))  # what failed had left everything behind
        again = self._retry(job, report)
        if again:
            self._again.append(again)
            self._shown(job).back()
        elif report.fault:
            self._fail(job, report)
        elif isinstance(job, RateJob):
            assert isinstance(report.told, RateTrial)
            self._tell(job, report.told)
        else:
            assert isinstance(report.told, Trained)
            self._finish(job, report.told)

    def _passes(self, check: Callable[[], None]) -> bool:
        """Whether the study is still this driver's, or can still be recorded; if not, nothing more is begun."""
        try:
            check()
        except Exception as error:  # noqa: BLE001 (raised by `run` when the running jobs have ended)
            self.stopped = self.stopped or error
            return False
        return True

    def _waits(self, cell: Cell, source: str | None) -> bool:
        return self._heirs.waits(cell, source, self._recorder.recorded)

    def _release(self, cell: Cell) -> None:
        """Takes in a cell whose source is there; what its rate search starts from may be still to come, or never."""
        if isinstance(cell.recipe.lr, float):
            self._order.add(cell, cell.recipe.lr)
            return
        setting = cell.setting()
        source = source_key(self._searches.first(setting))
        if setting in self._given_up:
            _, error, fault = self._given_up[setting]
            self._lose(cell, error, fault, 1)
        elif self._waits(cell, source):
            if source is not None and self._heirs.is_gone(source):
                self.failures += self._heirs.lose(source)
        else:
            self._order.seek(cell, setting)

    def _choose(self, node: str) -> Job | None:
        """The first in order; of the searches on the way, those that an earlier run has ended are ended."""
        found = self._order.next(node, self.slots)
        while isinstance(found, Search):
            self._found(found)
            if self.stopped:
                return None
            found = self._order.next_cell(node) or self._order.next_trial(node)
        return found

    def _tell(self, job: RateJob, told: RateTrial) -> None:
        setting = job.ask.setting
        search = self._order.search(setting) or self._given_up[setting][0]
        search.tell(job.ask.number, told)
        discard(job.folder)
        self.spent.seconds += told.seconds
        self.spent.trials += 1
        self._order.learn(job.ask.cell, told.seconds, len(told.scores) // job.ask.cell.recipe.validations)
        self._trials_shown.ended(note="" if search.left else f"{job.ask.cell.title()}: {_told(search.found())}")
        if self._order.search(setting) and not search.left:
            self._found(search)

    def _found(self, search: Search) -> None:
        """Gives a setting's cells the rate that was found for them."""
        lr = search.found()
        self._record(search)
        if lr is None:
            self._give_up(search, search.nothing_found(), "own", 1)
            return
        self.rates_found += 1
        self._order.found(search.setting, lr)

    def _record(self, search: Search) -> None:
        """Has the rates that a search tried recorded."""
        orders, check = self._orders, self._check_lease
        self._recorder.do(recording_of(search, orders.site, orders.study, tags=orders.tags, check_lease=check))

    def _give_up(self, search: Search, error: str, fault: Fault, attempts: int) -> None:
        """Loses the cells of a setting whose rate will not be found; together they count as one failure."""
        self._given_up[search.setting] = search, error, fault
        self._note_end(error)
        for cell in self._order.give_up(search.setting):
            self._lose(cell, error, fault, attempts)
        for job in [each for each in self._again if isinstance(each, RateJob) and each.ask.setting == search.setting]:
            self._again.remove(job)
            discard(job.folder)

    def _finish(self, job: CellJob, told: Trained) -> None:
        self._recorder.publish(job.folder)
        self._order.learn(job.cell, told.seconds, told.epochs)
        self.spent.seconds += told.spent
        self.spent.cells += 1
        self.speeds.append(told.images_per_second)
        self._note_end("")
        self._cells_shown.ended(note=f"{job.cell.title()}: {told.spent:.0f} s at rate {job.lr:.2g}")

    def _retry(self, job: Job, report: Report) -> Job | None:
        """The job that takes a failed one's place, if one does."""
        if report.fault == "memory" and job.parts == 1:
            return replace(job, parts=2)
        if report.fault in ("system", "away"):
            self._attempts[counted_as(job)] += 1
            return elsewhere(job) if self._attempts[counted_as(job)] < ATTEMPTS else None
        return None

    def _fail(self, job: Job, report: Report) -> None:
        assert report.fault
        self._shown(job).ended(failed=True)
        if report.fault in ("storage", "away"):
            what = "takes no more" if report.fault == "storage" else f"was out of a worker's reach {ATTEMPTS} times"
            self.stopped = self.stopped or StorageError(
                f"the storage folder {self._orders.site.storage} {what}: {last_line(report.error)}; "
                f"nothing is lost: once it is well, run the same command again"
            )
            return
        discard(job.folder)
        attempts = max(self._attempts[counted_as(job)], 1)
        if isinstance(job, CellJob):
            self._note_end(report.error)
            self._lose(job.cell, report.error, report.fault, attempts)
        elif search := self._order.search(job.ask.setting):  # else another trial of it has failed before
            self._give_up(search, report.error, report.fault, attempts)

    def _lose(self, cell: Cell, error: str, fault: Fault, attempts: int) -> None:
        """Records a cell's failure, and names all the cells that were to start from it."""
        orders = self._orders

        def record() -> None:
            self._check_lease()
            store.fail(orders.site, orders.study, cell, error, fault=fault, attempts=attempts, tags=orders.tags)

        self.failures.append(Failure(cell=cell, error=error))
        self._recorder.do(record)
        self.failures += self._heirs.lose(cell.key)

    def _note_end(self, error: str) -> None:
        """Stops a sweep whose first cells all fail in the same way."""
        self.stopped = self._first_ends.note(error) or self.stopped

    def _shown(self, job: Job) -> Progress:
        return self._trials_shown if isinstance(job, RateJob) else self._cells_shown


def _told(lr: float | None) -> str:
    return "no rate" if lr is None else f"rate {lr:.2g}"
