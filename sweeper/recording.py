"""Brings what workers left into the store, one cell after another, in a thread of the driver.

Cells go on training while MLflow is away or slow: what they leave waits on disk, here and across restarts. What is
recorded, and in which order, is `store`'s business.
"""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sweeper import store
from sweeper.outcome import Outcome
from sweeper.site import Site
from sweeper.work import discard, sealed


@dataclass(frozen=True, kw_only=True)
class _Task:
    run: Callable[[], None]
    key: str | None
    """Of the cell that is finished when this is done, if it is one."""


class Recorder:
    """The one writer of a study's record; a context that ends when everything handed in is recorded."""

    def __init__(self, site: Site, study: str, work: Path, check_lease: Callable[[], None]) -> None:
        self.recorded: set[str] = set()
        """Keys of the cells that are finished since this began."""
        self._site, self._study, self._work, self._check_lease = site, study, work, check_lease
        self._tasks: queue.Queue[_Task | None] = queue.Queue()
        self._error: Exception | None = None
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

    def do(self, run: Callable[[], None]) -> None:
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
        while (task := self._tasks.get()) is not None and not self._stop.is_set():
            try:
                store.patiently(task.run, self._site, self._stop)
            except Exception as error:  # noqa: BLE001 (raised in the driver's own thread by `check`)
                self._error = error
                return
            if task.key:
                self.recorded.add(task.key)
            self._tasks.task_done()
