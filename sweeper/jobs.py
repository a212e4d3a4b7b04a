"""What a sweep has to do next: rate trials and cells in one queue, and what follows when one of them fails.

A cell is ready as soon as its rate is found and its source is recorded; other searches go on meanwhile. Where and how
jobs are run is `tuning`'s business; nothing here knows Ray.
"""

import heapq
import itertools
import re
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sweeper import store
from sweeper.affinity import NEARLY, Held, take
from sweeper.cell import Cell, LrSearch
from sweeper.costs import Costs
from sweeper.grid import source_key
from sweeper.job import CellJob, Failure, Job, Orders, RateJob, Report, Spent
from sweeper.live import Progress
from sweeper.outcome import ATTEMPTS, Fault, Outcome, RateTrial, Trained
from sweeper.rates import Search, Searches
from sweeper.recording import Recorder, recording_of
from sweeper.work import MANIFEST, discard

_SAME_FAILURES = 5
_SPEEDS = 16


class SweepStoppedError(RuntimeError):
    """A sweep that does not go on, because it would only go on failing."""


class StorageFullError(SweepStoppedError):
    """A sweep that does not go on, because the storage takes no more; neither can anything be recorded then."""


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
            cells: those to be run; a source among them comes before its heirs, whatever their order.
            attempts: key -> how often a cell has already failed with the machine under it.
            lost: keys of cells that failed before and are not run again; their heirs are given up.
            progress: of rate trials, and of cells.
        """
        self.failures: list[Failure] = []
        self.stopped: Exception | None = None
        """Why nothing more is begun."""
        self.spent = Spent()
        self._orders, self._searches, self._recorder, self._costs = orders, searches, recorder, costs
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
        self._declared = {cell.key for cell in cells} | set(lost)
        self._gone = set(lost) - {cell.key for cell in cells}
        """Keys of the cells that nothing can start from."""
        self._heirs: dict[str, list[Cell]] = {}
        """Source key -> the cells that wait for it."""
        self._ready: list[tuple[float, int, Cell, float]] = []
        """Heap of cells with their rate, the longest first."""
        self._settings: list[tuple[float, str]] = []
        """Heap of searches that are not begun, the longest first."""
        self._seekers: dict[str, list[Cell]] = {}
        """Setting -> the cells that wait for its rate."""
        self._open: dict[str, Search] = {}
        self._given_up: dict[str, tuple[Search, str, Fault]] = {}
        """Setting -> its search and why no rate will be found by it."""
        self._order = itertools.count()
        """Of equals, the first declared comes first."""
        self._first_ends: list[str] = []
        self._held = Held()
        self._learned = 0
        self._ahead = 0.0
        """Expected seconds of the cells that are not begun, in the unit of `Costs.rank`."""
        self._ahead_ready = 0.0
        """The same of those whose rate is known."""
        self._release(cell for cell in cells if not self._waits(cell, source_key(cell)))
        for key in tuple(self._gone):
            self._orphan(key)

    @property
    def left(self) -> bool:
        """Whether anything runs or is still to be begun."""
        idle = not (self._again or self._ready or self._settings or self._open or self._heirs)
        return bool(self._running) or not (idle or self.stopped)

    @property
    def wanted(self) -> int:
        """How many could run at once at most, were there room for them, those that run included."""
        trials = len(self._settings) + sum(search.left for search in self._open.values())
        return len(self._running) + len(self._again) + len(self._ready) + trials

    def next(self, node: str = "") -> Job | None:
        """The next job; None while there is none, which need not last as long as `left`.

        Args:
            node: where it will run, if that is known: of jobs that are nearly as long as the longest, one whose images
                that node has read goes first.
        """
        if not (self._passes(self._check_lease) and self._passes(self._recorder.check)) or self.stopped:
            return None
        self._release([heir for key in self._heirs.keys() & self._recorder.recorded for heir in self._heirs.pop(key)])
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
            self._held.note(report.node, _cell(job))
        if not self._passes(self._check_lease):
            self._shown(job).back()
            return
        if report.fault and (job.folder / MANIFEST).exists():
            report = Report(told=_sealed(job.folder))  # what failed had left everything behind
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

    def _waits(self, cell: Cell, key: str | None) -> bool:
        """Whether a cell has to wait for the cell with this key, and if so lets it."""
        if key is None or key not in self._declared or key in self._recorder.recorded:
            return False
        self._heirs.setdefault(key, []).append(cell)
        return True

    def _release(self, cells: Iterable[Cell]) -> None:
        """Takes in cells whose source is there."""
        for cell in cells:
            if isinstance(cell.recipe.lr, float):
                self._ahead += self._costs.rank(cell)
                self._push(cell, cell.recipe.lr)
            else:
                self._seek(cell)

    def _seek(self, cell: Cell) -> None:
        """Takes in a cell that needs a rate; what the search starts from may be still to come, or never come."""
        setting = cell.setting()
        source = source_key(self._searches.first(setting))
        if setting in self._given_up:
            _, error, fault = self._given_up[setting]
            self._lose(cell, error, fault, 1)
        elif self._waits(cell, source):
            if source in self._gone:
                self._orphan(str(source))
        else:
            seekers = self._seekers.setdefault(setting, [])
            if not seekers and setting not in self._open:
                heapq.heappush(self._settings, (-self._path(cell), setting))
            seekers.append(cell)
            self._ahead += self._costs.rank(cell)

    def _push(self, cell: Cell, lr: float) -> None:
        self._ahead_ready += self._costs.rank(cell)
        heapq.heappush(self._ready, (-self._costs.rank(cell), next(self._order), cell, lr))

    def _path(self, cell: Cell, trials: int | None = None) -> float:
        """Expected time from the next of a setting's rate trials, None being the first, to the cell's end."""
        search = cell.recipe.lr
        assert isinstance(search, LrSearch)
        share = search.trial_epochs(cell.recipe.epochs) / cell.recipe.epochs
        return self._costs.rank(cell) * (1 + share * (search.trainings if trials is None else trials))

    def _can_wait(self) -> bool:
        """Whether the searches may: the longest would end in time for its cell, and before the ready cells run out."""
        waiting = [(self._seekers[self._settings[0][1]][0], None)] if self._settings else []
        begun = [(self._seekers[setting][0], search.left) for setting, search in self._open.items()]
        paths = [(self._path(cell, trials), self._costs.rank(cell)) for cell, trials in (*waiting, *begun)]
        in_time = max((path for path, _ in paths), default=0.0) < self._ahead / self.slots
        return in_time and max((path - own for path, own in paths), default=0.0) < self._ahead_ready / self.slots

    def _choose(self, node: str) -> Job | None:
        """A cell, unless a search would then hold up the end: in that case a rate trial; the other if there is none."""
        if self._ready and self._can_wait():
            return self._next_cell(node)
        return self._next_trial(node) or (self._next_cell(node) if self._ready and not self.stopped else None)

    def _next_cell(self, node: str) -> CellJob:
        _, _, cell, lr = take(self._ready, lambda entry: self._held.has(node, entry[2]))
        self._ahead -= self._costs.rank(cell)
        self._ahead_ready -= self._costs.rank(cell)
        return CellJob(cell=cell, lr=lr, orders=self._orders)

    def _next_trial(self, node: str) -> RateJob | None:
        for search in self._open_for(node):
            ask = search.ask()
            if ask:
                return RateJob(ask=ask, orders=self._orders)
        while self._settings and not self.stopped:
            _, setting = take(self._settings, lambda entry: self._held.has(node, self._seekers[entry[1]][0]))
            search = self._searches.open(setting)
            ask = search.ask()
            if ask:
                self._open[setting] = search
                return RateJob(ask=ask, orders=self._orders)
            self._found(search)  # by an earlier run
            if self._ready:
                return None
        return None

    def _open_for(self, node: str) -> list[Search]:
        """The searches that are begun, in order; of those nearly as long as the longest, the ones held come first."""
        paths = {setting: self._path(self._seekers[setting][0], search.left) for setting, search in self._open.items()}
        least = NEARLY * max(paths.values(), default=0.0)

        def goes_first(search: Search) -> bool:
            return paths[search.setting] >= least and self._held.has(node, search.cell)

        return sorted(self._open.values(), key=goes_first, reverse=True)  # a stable sort

    def _tell(self, job: RateJob, told: RateTrial) -> None:
        setting = job.ask.setting
        search = self._open[setting] if setting in self._open else self._given_up[setting][0]
        search.tell(job.ask.number, told)
        self._forget(job)
        self.spent.seconds += told.seconds
        self.spent.trials += 1
        self._learn(job.ask.cell, told.seconds, len(told.scores) // job.ask.cell.recipe.validations)
        self._trials_shown.ended(note="" if search.left else f"{job.ask.cell.title()}: {_told(search.found())}")
        if setting in self._open and not search.left:
            self._found(self._open.pop(setting))

    def _found(self, search: Search) -> None:
        """Gives a setting's cells the rate that was found for them."""
        lr = search.found()
        self._record(search)
        if lr is None:
            self._give_up(search, search.nothing_found(), "own", 1)
            return
        self.rates_found += 1
        for cell in self._seekers.pop(search.setting):
            self._push(cell, lr)

    def _record(self, search: Search) -> None:
        """Has the rates that a search tried recorded."""
        orders, check = self._orders, self._check_lease
        self._recorder.do(recording_of(search, orders.site, orders.study, tags=orders.tags, check_lease=check))

    def _give_up(self, search: Search, error: str, fault: Fault, attempts: int) -> None:
        """Loses the cells of a setting whose rate will not be found; together they count as one failure."""
        self._given_up[search.setting] = search, error, fault
        self._note_end(error)
        for cell in self._seekers.pop(search.setting):
            self._ahead -= self._costs.rank(cell)
            self._lose(cell, error, fault, attempts)
        for job in [each for each in self._again if isinstance(each, RateJob) and each.ask.setting == search.setting]:
            self._again.remove(job)
            self._forget(job)

    def _finish(self, job: CellJob, told: Trained) -> None:
        self._recorder.publish(job.folder)
        self._learn(job.cell, told.seconds, told.epochs)
        self.spent.seconds += told.spent
        self.spent.cells += 1
        self.speeds.append(told.images_per_second)
        self._note_end("")
        self._cells_shown.ended(note=f"{job.cell.title()}: {told.spent:.0f} s at rate {job.lr:.2g}")

    def _learn(self, cell: Cell, seconds: float, epochs: int) -> None:
        """Takes a time into the expectations; the queue is put in order again after 1, 2, 4, 8, ... of them."""
        if epochs:
            self._costs.observe(cell, seconds, epochs)
            self._learned += 1
            if self._learned.bit_count() == 1:
                self._rerank()

    def _rerank(self) -> None:
        self._ready = [(-self._costs.rank(cell), order, cell, lr) for _, order, cell, lr in self._ready]
        self._settings = [(-self._path(self._seekers[setting][0]), setting) for _, setting in self._settings]
        heapq.heapify(self._ready)
        heapq.heapify(self._settings)
        self._ahead_ready = -sum(rank for rank, *_ in self._ready)
        seekers = itertools.chain(*self._seekers.values())
        self._ahead = self._ahead_ready + sum(self._costs.rank(cell) for cell in seekers)

    def _retry(self, job: Job, report: Report) -> Job | None:
        """The job that takes a failed one's place, if one does."""
        if report.fault == "memory" and job.parts == 1:
            return replace(job, parts=2)
        if report.fault == "system":
            self._attempts[_counted_as(job)] += 1
            return _elsewhere(job) if self._attempts[_counted_as(job)] < ATTEMPTS else None
        return None

    def _fail(self, job: Job, report: Report) -> None:
        assert report.fault
        self._shown(job).ended(failed=True)
        if report.fault == "storage":
            self.stopped = self.stopped or StorageFullError(
                f"the storage folder {self._orders.site.storage} takes no more: {_last_line(report.error)}; "
                "nothing is lost: once there is room, run the same command again"
            )
            return
        self._forget(job)
        attempts = max(self._attempts[_counted_as(job)], 1)
        if isinstance(job, CellJob):
            self._note_end(report.error)
            self._lose(job.cell, report.error, report.fault, attempts)
        elif job.ask.setting in self._open:  # else another trial of it has failed before
            self._give_up(self._open.pop(job.ask.setting), report.error, report.fault, attempts)

    def _lose(self, cell: Cell, error: str, fault: Fault, attempts: int) -> None:
        """Records a cell's failure, and names all the cells that were to start from it."""
        orders = self._orders

        def record() -> None:
            self._check_lease()
            store.fail(orders.site, orders.study, cell, error, fault=fault, attempts=attempts, tags=orders.tags)

        self.failures.append(Failure(cell=cell, error=error))
        self._recorder.do(record)
        self._orphan(cell.key)

    def _orphan(self, key: str) -> None:
        """Gives up the cells that were to start from a cell that failed, or whose rate search was."""
        self._gone.add(key)
        for heir in self._heirs.pop(key, []):
            role = "its source" if source_key(heir) == key else "the source of its rate search"
            self.failures.append(Failure(cell=heir, error=f"{role}, cell {key}, failed"))
            self._orphan(heir.key)

    def _note_end(self, error: str) -> None:
        """Stops a sweep whose first cells all fail in the same way."""
        self._first_ends.append(_kind(error))
        if len(self._first_ends) == _SAME_FAILURES and len(set(self._first_ends)) == 1 and error:
            self.stopped = SweepStoppedError(
                f"the first {_SAME_FAILURES} cells failed in the same way, so that no more are begun: "
                f"{_last_line(error)}"
            )

    def _forget(self, job: Job) -> None:
        """Removes what a job that has ended for good kept to go on with."""
        discard(job.folder)

    def _shown(self, job: Job) -> Progress:
        return self._trials_shown if isinstance(job, RateJob) else self._cells_shown


def _elsewhere(job: Job) -> Job:
    """The same job for another worker, out of reach of the one that had it."""
    again = replace(job, moves=job.moves + 1)
    job.folder.rename(again.folder)
    return again


def _cell(job: Job) -> Cell:
    return job.cell if isinstance(job, CellJob) else job.ask.cell


def _counted_as(job: Job) -> str:
    """The name under which a job's attempts are counted: a cell's goes on from run to run."""
    return job.cell.key if isinstance(job, CellJob) else job.name


def _told(lr: float | None) -> str:
    return "no rate" if lr is None else f"rate {lr:.2g}"


def _sealed(folder: Path) -> Trained:
    outcome = Outcome.from_json((folder / "outcome.json").read_text())
    speed = outcome.epochs[-1].images_per_second
    return Trained(seconds=outcome.seconds, spent=outcome.seconds, epochs=len(outcome.epochs), images_per_second=speed)


def _last_line(error: str) -> str:
    return error.strip().splitlines()[-1]


def _kind(error: str) -> str:
    """What failures of the same kind have in common: the last line without its numbers and keys."""
    return re.sub(r"[0-9a-f]{16}|[-+.\d]+(e[-+]?\d+)?", "#", _last_line(error)) if error else ""
