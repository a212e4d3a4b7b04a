"""What a person sees while a sweep runs, as gauges that Ray exports to Prometheus; `cluster_panel.json` draws them.

They are the numbers of `live`, and of the epochs that lie on disk; nothing is decided by them.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ray.util.metrics import Gauge

from sweeper.jobs import Jobs
from sweeper.live import Progress
from sweeper.work import CURVE

_SECONDS_BETWEEN_LOOKS = 5.0
STATES = ("waiting", "running", "done", "failed")
GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "sweeper_cells": ("Cells of a study that were left when it was started.", ("study", "state")),
    "sweeper_rate_trials": ("Rate trials of a study that were left when it was started.", ("study", "state")),
    "sweeper_rates_found": ("Settings whose learning rate was found since the start.", ("study",)),
    "sweeper_slots": ("Jobs that this driver may run at once.", ("study",)),
    "sweeper_images_per_second": ("Training images per second of all jobs that run, as `speed` has it.", ("study",)),
    "sweeper_seconds_left": ("Time for the cells left at the pace so far.", ("study",)),
}
"""Name -> what it says, and its tags. Prometheus knows each by `ray_` and its name."""
Number = tuple[str, str, float | None]
"""Name of a gauge, state or empty, and value; None when it is not known."""


class Speeds:
    """Images per second of the cells in training, from the epochs that lie on disk; a file is read when it changed."""

    def __init__(self, work: Path) -> None:
        """
        Args:
            work: the study's folder of work in flight.
        """
        self._work = work
        self._known: dict[Path, tuple[int, float]] = {}

    def now(self) -> list[float]:
        """Of each cell that has trained for twenty seconds its newest epoch's, training time alone."""
        now: dict[Path, tuple[int, float]] = {}
        for path in self._work.glob(f"[!.]*/{CURVE}"):
            try:
                changed = path.stat().st_mtime_ns
                known = self._known.get(path)
                now[path] = known if known and known[0] == changed else (changed, _newest(path))
            except FileNotFoundError:  # its cell has ended since it was listed
                continue
        self._known = now
        return [speed for _, speed in now.values()]


@contextmanager
def exported(study: str, trials: Progress, cells: Progress, jobs: Jobs, work: Path) -> Iterator[None]:
    """Sets the gauges of a study every few seconds while the block runs, and once more at its end."""
    gauges = {name: Gauge(name, says, tags) for name, (says, tags) in GAUGES.items()}
    speeds, ended = Speeds(work), threading.Event()

    def show() -> None:
        for name, state, value in numbers(trials, cells, jobs, speeds.now()):
            gauges[name].set(value, {"study": study} | ({"state": state} if state else {}))  # None sets nothing

    def watch() -> None:
        while not ended.is_set():
            show()
            ended.wait(_SECONDS_BETWEEN_LOOKS)

    thread = threading.Thread(target=watch, name="gauges", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        show()


def numbers(trials: Progress, cells: Progress, jobs: Jobs, speeds: Sequence[float]) -> Iterator[Number]:
    """All gauges of a study as they are now.

    Args:
        speeds: images per second of the cells in training that tell theirs.
    """
    for name, stage in (("sweeper_cells", cells), ("sweeper_rate_trials", trials)):
        waiting = max(stage.total - stage.done - stage.failed - stage.running, 0)  # a total is an estimate for trials
        counts = (waiting, stage.running, stage.done, stage.failed)
        yield from ((name, state, float(count)) for state, count in zip(STATES, counts, strict=True))
    yield "sweeper_rates_found", "", float(jobs.rates_found)
    yield "sweeper_slots", "", float(jobs.slots)
    yield "sweeper_images_per_second", "", speed(speeds, trials.running + cells.running, jobs.speeds)
    yield "sweeper_seconds_left", "", cells.seconds_left()


def speed(told: Sequence[float], running: int, ended: Sequence[float]) -> float:
    """Images per second of all jobs that run: what they tell, and for each that is too young for it the mean of others.

    Args:
        told: of those that tell theirs.
        running: how many there are.
        ended: of the cells that ended last, in their last epoch.
    """
    mean = sum(ended) / len(ended) if ended else 0.0
    return sum(told) + max(running - len(told), 0) * mean


def _newest(path: Path) -> float:
    epochs = json.loads(path.read_text())["epochs"]
    return float(epochs[-1]["images_per_second"]) if epochs else 0.0
