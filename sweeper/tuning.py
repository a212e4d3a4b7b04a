"""Ray Tune: finds the learning rates of a study's settings, then trains its cells, on warm actors that are used again.

The order of rates is `rates`' business, training is `finetune`'s; resuming needs nothing of Tune, because what is
finished is asked of the store and of the searches.
"""

import shutil
import time
import traceback
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from sweeper import finetune, store
from sweeper.cell import Cell
from sweeper.cluster import devices_of, slots_of
from sweeper.finetune import Devices
from sweeper.grid import Sweep
from sweeper.live import Progress, shown
from sweeper.rates import Ask, Search, searches
from sweeper.site import Site


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A cell that could not be trained."""

    cell: Cell
    error: str
    """The last line says what went wrong; a traceback stands above it where there is one."""


def find_rates(sweep: Sweep, cells: Sequence[Cell], site: Site) -> tuple[dict[str, float], list[Failure]]:
    """The rate of each cell by its key, searched where it is declared as a search, and the cells left without one."""
    rates = {cell.key: cell.recipe.lr for cell in cells if isinstance(cell.recipe.lr, float)}
    found = searches(cells, rates_path(site, sweep.name))
    total = sum(search.left for search in found)
    errors: dict[str, str] = {}
    if total:
        with shown(f"{sweep.name}: rate trials", total) as progress:
            devices = devices_of(sweep)
            feed = _RateFeed(progress, found, site, devices)
            _run(feed, total, devices, _folder(site, f"{sweep.name}-rates"))
            errors = feed.errors
    failures: list[Failure] = []
    for search in found:
        lr = None if search.setting in errors else search.found()
        if lr is None:
            error = errors.get(search.setting) or _all_diverged(search)
            failures += [Failure(cell=cell, error=error) for cell in search.cells]
        else:
            rates |= {cell.key: lr for cell in search.cells}
    return rates, failures


def rates_path(site: Site, study: str) -> Path:
    """The file of a study's rate searches."""
    return site.study(study) / "rates.db"


def run_cells(
    sweep: Sweep, cells: Sequence[Cell], rates: Mapping[str, float], site: Site, tags: Mapping[str, str]
) -> list[Failure]:
    """Trains the cells at their rates and records each; those that failed are returned, the others go on."""
    if not cells:
        return []
    devices = devices_of(sweep)
    jobs = [
        _CellJob(cell=cell, lr=rates[cell.key], study=sweep.name, site=site, devices=devices, tags=tags)
        for cell in cells
    ]
    with shown(f"{sweep.name}: cells", len(jobs)) as progress:
        feed = _CellFeed(progress, jobs)
        _run(feed, len(jobs), devices, _folder(site, f"{sweep.name}-cells"))
    return feed.failures


def _folder(site: Site, name: str) -> Path:
    return site.storage / "ray" / f"{name}-{time.time_ns()}"


def _all_diverged(search: Search) -> str:
    low, high = f"{search.lr.low:g}", f"{search.lr.high:g}"
    return (
        f"every one of the {search.lr.trials} learning rates tried from {low} to {high} diverged; "
        "declare an LrSearch over smaller rates"
    )


class _Trial(tune.Trainable):
    """One job after another in the same warm process."""

    def setup(self, config: dict[str, Any]) -> None:
        self._job: _RateJob | _CellJob = config["job"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._job = new_config["job"]
        return True

    def step(self) -> dict[str, Any]:
        try:
            return {"told": self._job.run(), "error": None, "done": True}
        except Exception:  # the one place where a failure is recorded and the sweep goes on
            error = traceback.format_exc()
            self._job.record(error)
            return {"told": None, "error": error, "done": True}


@dataclass(frozen=True, kw_only=True)
class _RateJob:
    ask: Ask
    site: Site
    devices: Devices

    @property
    def name(self) -> str:
        return f"{self.ask.setting}-rate{self.ask.number}"

    def run(self) -> finetune.RateTrial:
        ask = self.ask
        return finetune.try_rate(ask.cell, self.site, lr=ask.lr, floor=ask.floor, devices=self.devices)

    def record(self, error: str) -> None:
        """The driver records it for every cell that waits for this search."""


@dataclass(frozen=True, kw_only=True)
class _CellJob:
    cell: Cell
    lr: float
    study: str
    site: Site
    devices: Devices
    tags: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.cell.title()

    def run(self) -> None:
        run_id = store.begin(self.site, self.study, self.cell, self.tags)
        outcome = finetune.fit(self.cell, self.site, lr=self.lr, run_id=run_id, devices=self.devices)
        store.finish(self.site, run_id, outcome, self.lr)

    def record(self, error: str) -> None:
        store.fail_unfinished(self.site, self.study, self.cell, error)


class _Feed(Searcher):
    """Gives Tune one job after another and hears what came of each; Tune's own snapshots of it stay empty."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def save(self, checkpoint_path: str) -> None: ...

    def restore(self, checkpoint_path: str) -> None: ...


class _RateFeed(_Feed):
    """The next rate of any setting that can go on."""

    def __init__(self, progress: Progress, open_searches: Sequence[Search], site: Site, devices: Devices) -> None:
        super().__init__(progress)
        self.errors: dict[str, str] = {}
        """Setting -> why its trials cannot run."""
        self._searches = {search.setting: search for search in open_searches}
        self._site, self._devices = site, devices
        self._asked: dict[str, Ask] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        for search in self._searches.values():
            ask = None if search.setting in self.errors else search.ask()
            if ask:
                self._asked[trial_id] = ask
                self._progress.started()
                return {"job": _RateJob(ask=ask, site=self._site, devices=self._devices)}
        return None if self._asked else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        ask = self._asked.pop(trial_id)
        search = self._searches[ask.setting]
        trouble = _trouble(result, error)
        if trouble:
            self.errors[ask.setting] = trouble
        else:
            assert result is not None
            search.tell(ask.number, result["told"].scores, result["told"].diverged)
        found = trouble is None and not search.left
        self._progress.ended(failed=bool(trouble), note=f"{ask.cell.title()} at {ask.lr:.2g}" if found else "")


class _CellFeed(_Feed):
    """One cell after another."""

    def __init__(self, progress: Progress, jobs: Iterable[_CellJob]) -> None:
        super().__init__(progress)
        self.failures: list[Failure] = []
        self._waiting = deque(jobs)
        self._running: dict[str, tuple[_CellJob, float]] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if not self._waiting:
            return Searcher.FINISHED
        job = self._waiting.popleft()
        self._running[trial_id] = job, time.monotonic()
        self._progress.started()
        return {"job": job}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        job, began = self._running.pop(trial_id)
        trouble = _trouble(result, error)
        if trouble:
            self.failures.append(Failure(cell=job.cell, error=trouble))
        if error:
            job.record(trouble or "")
        note = f"{job.cell.title()}: {time.monotonic() - began:.0f} s at rate {job.lr:.2g}"
        self._progress.ended(failed=bool(trouble), note=note)


def _trouble(result: dict[str, Any] | None, error: bool) -> str | None:
    if error or not result:
        return "the process that ran it died (killed, or out of memory); Ray's logs say more"
    return result["error"]


def _run(feed: _Feed, jobs: int, devices: Devices, folder: Path) -> None:
    """Lets Tune run a feed's jobs to the end, on as many warm actors as the cluster has slots."""
    resources = {"CPU": 1.0, "GPU": devices.gpus} if devices.workers == 1 else {"CPU": 0.0}
    tuner = tune.Tuner(
        tune.with_resources(_Trial, resources),
        tune_config=tune.TuneConfig(
            search_alg=feed,
            num_samples=jobs,
            reuse_actors=True,
            max_concurrent_trials=slots_of(devices),
            trial_name_creator=lambda trial: trial.config["job"].name,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    tuner.fit()
    shutil.rmtree(folder, ignore_errors=True)  # Tune's bookkeeping: what is finished, the store and the searches know
