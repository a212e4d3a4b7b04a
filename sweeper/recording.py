"""Brings what workers left into the store, one cell after another, in a thread of the driver.

Cells go on training while MLflow is away or slow: what they leave waits on disk, here and across restarts. What is
recorded, and in which order, is `store`'s business.
"""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sweeper import store
from sweeper.outcome import Curve, Outcome
from sweeper.rates import Search, Searches
from sweeper.site import Site
from sweeper.work import CURVE, discard, sealed, unmoved

_SECONDS_BETWEEN_LOOKS = 10.0


@dataclass(frozen=True, kw_only=True)
class _Task:
    run: Callable[[], object]
    key: str | None
    """Of the cell that is finished when this is done, if it is one."""
    listed: bool = True
    """Whether somebody handed it in and may wait for it."""


class Recorder:
    """The one writer of a study's record; a context that ends when everything handed in is recorded."""

    def __init__(self, site: Site, study: str, work: Path, check_lease: Callable[[], None]) -> None:
        self.recorded: set[str] = set()
        """Keys of the cells that are finished since this began."""
        self._site, self._study, self._work, self._check_lease = site, study, work, check_lease
        self._tasks: queue.Queue[_Task | None] = queue.Queue()
        self._error: Exception | None = None
        self._shown: dict[str, tuple[str, int]] = {}
        """Key of a cell that is being trained -> its run for the time being, and how many epochs that shows."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="recorder", daemon=True)

    def __enter__(self) -> "Recorder":
        for folder in sealed(self._work):  # trained before an earlier driver ended
            self.publish(folder)
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:  # interrupted: what waits is on disk, and the next driver records it
            self._stop.set()
        self._tasks.put(None)
        self._thread.join()
        if kind is None:
            self.check()

    def publish(self, folder: Path) -> None:
        """Records a trained cell from its sealed folder, soon; the folder goes when that is done."""

        def run() -> None:
            self._check_lease()  # first: the folder of a driver that has lost the study is gone
            store.publish(self._site, self._study, folder, self._check_lease)
            discard(folder)

        key = Outcome.from_json((folder / "outcome.json").read_text()).cell.key
        self._tasks.put(_Task(run=run, key=key))

    def do(self, run: Callable[[], object]) -> None:
        """Does something else with the store, soon and in its turn."""
        self._tasks.put(_Task(run=run, key=None))

    def flush(self) -> None:
        """Waits until everything handed in is recorded.

        Raises:
            Exception: what kept it from being recorded.
        """
        while self._tasks.unfinished_tasks and self._error is None:
            time.sleep(0.01)
        self.check()

    def check(self) -> None:
        """Raises what has gone wrong, if anything has: nothing more is recorded then."""
        if self._error is not None:
            raise self._error

    def _serve(self) -> None:
        while (task := self._next()) is not None and not self._stop.is_set():
            try:
                store.patiently(task.run, self._site, self._stop)
            except Exception as error:  # noqa: BLE001 (raised in the driver's own thread by `check`)
                self._error = error
                return
            if task.key:
                self.recorded.add(task.key)
                self._shown.pop(task.key, None)  # recording it has removed that run
            if task.listed:
                self._tasks.task_done()

    def _next(self) -> _Task | None:
        """The next task; while there is none, what cells in training have come to."""
        try:
            return self._tasks.get(timeout=_SECONDS_BETWEEN_LOOKS)
        except queue.Empty:
            return _Task(run=self._show, key=None, listed=False)

    def _show(self) -> None:
        """Brings the epochs of cells in training to MLflow, where a person may be looking."""
        self._check_lease()
        for path in self._work.glob(f"[!.]*/{CURVE}"):
            curve = _read(path)
            if curve is None or unmoved(path.parent).name != curve.cell.key or curve.cell.key in self.recorded:
                continue  # a rate trial's, or a cell that has ended since
            run_id, count = self._shown.get(curve.cell.key, (None, 0))
            if len(curve.epochs) > count:
                run_id = store.show(self._site, self._study, curve.cell, curve.epochs[count:], run_id)
                self._shown[curve.cell.key] = run_id, len(curve.epochs)


def record_searches(
    searches: Searches, site: Site, study: str, *, tags: Mapping[str, str], check_lease: Callable[[], None]
) -> None:
    """Records the searches that ended while MLflow was away, in a driver that was killed before it came back."""
    known = {run.data.tags[store.SETTING] for run in store.searches(site, study)}
    for search in searches.ended(but=known):
        recording_of(search, site, study, tags=tags, check_lease=check_lease)()


def recording_of(
    search: Search, site: Site, study: str, *, tags: Mapping[str, str], check_lease: Callable[[], None]
) -> Callable[[], str]:
    """What records the rates that a search has tried by now, once, whoever calls it and when."""
    tried = {"lr": search.found(), "table": search.table()}
    return partial(store.log_search, site, study, search.cell, **tried, tags=tags, check_lease=check_lease)


def _read(path: Path) -> Curve | None:
    try:
        return Curve.from_json(path.read_text())
    except FileNotFoundError:  # its cell has ended since it was listed
        return None
