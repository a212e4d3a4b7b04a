"""Ray Tune: runs a sweep's rate trials and cells, one trial each, on warm actors that are used again.

What comes next is `jobs`' business and training is `finetune`'s; resuming needs nothing of Tune, because what is
finished is asked of the store and of the searches.
"""

import asyncio
import gc
import shutil
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from sweeper.job import DIED, Job, Report
from sweeper.jobs import Jobs
from sweeper.orphan import die_with_parent
from sweeper.outcome import Devices

_LONGEST_WAIT = 60.0
"""Seconds after which a process without a job is let go, so that a cluster can shrink."""
_TRIALS_PER_TUNER = 2000
"""Tune keeps every trial in the driver's memory, 45 KB each: a large sweep is a sequence of Tuners."""
Slots = Callable[[int], int]


def run_jobs(jobs: Jobs, devices: Devices, slots: Slots, work: Path) -> None:
    """Runs all jobs of a sweep, or those that it had begun when something stopped it: `jobs.stopped` says what.

    Args:
        slots: says how many may run at once, given how many could; it is asked again and again.
        work: the study's folder of work in flight.

    """
    while jobs.left:
        _run(_Feed(jobs, slots), devices, work / f".tune-{time.time_ns()}")


class _Trial(tune.Trainable):
    """One job after another in the same warm process, which alone imports torch."""

    def setup(self, config: dict[str, Any]) -> None:
        die_with_parent()
        self._job: Job | _Bell | _Leave = config["job"]
        self._node = ray.get_runtime_context().get_node_id()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._job = new_config["job"]
        return True

    def step(self) -> dict[str, Any]:
        import torch

        from sweeper.finetune.faults import fault_of

        if isinstance(self._job, _Bell):
            return {"rang": self._job.wait(), "node": self._node, "done": True}
        if isinstance(self._job, _Leave):
            raise ProcessLookupError("no room is left for this process")  # Tune ends one whose trial fails
        try:
            report = Report(told=self._job.run())
        except Exception as error:  # the one place where a failure is recorded and the sweep goes on
            report = Report(error=traceback.format_exc(), fault=fault_of(error))
        if report.fault == "memory":
            gc.collect()  # what the failed job held
            torch.cuda.empty_cache()
        lane = self._job.orders.devices.workers > 1  # whose images are read elsewhere
        return {"report": replace(report, node="" if lane else self._node), "node": self._node, "done": True}

    def cleanup(self) -> None:
        from sweeper.finetune import close_lane

        close_lane()


class _Bell:
    """Wakes processes that wait for a job, one for each ring."""

    def __init__(self, longest_wait: float) -> None:
        self._rings: Any = ray.remote(num_cpus=0)(_Rings).remote()
        self._longest_wait = longest_wait

    def ring(self, times: int = 1) -> None:
        self._rings.ring.remote(times)

    def wait(self) -> bool:
        """Whether it rang; False after so many seconds as were said."""
        return ray.get(self._rings.wait.remote(self._longest_wait))

    def take_down(self) -> None:
        ray.kill(self._rings)


class _Leave:
    """Ends the process that gets it: Tune itself would keep one without a trial, and the devices that it holds."""


class _Rings:
    """What a bell's processes share."""

    def __init__(self) -> None:
        self._unheard = asyncio.Semaphore(0)

    async def ring(self, times: int) -> None:
        for _ in range(times):
            self._unheard.release()

    async def wait(self, seconds: float) -> bool:
        heard = asyncio.ensure_future(self._unheard.acquire())
        await asyncio.wait([heard], timeout=seconds)
        return heard.done() or not heard.cancel()


class _Feed(Searcher):
    """Gives Tune one job after another and hears what came of each; Tune's own snapshots of it stay empty.

    Tune ends a process at once when there is no trial for it, and a new one takes seconds to start. So a process that
    is free while the queue has nothing to give gets a trial in which it waits for a bell. One that is too many, because
    another driver needs room, is sent away.
    """

    def __init__(self, jobs: Jobs, slots: Slots) -> None:
        super().__init__()
        self._jobs, self._slots = jobs, slots
        self._given = 0
        self._running: dict[str, Job] = {}
        self._free: deque[str] = deque()
        """Nodes of the processes whose job has ended and that have no other trial yet, in the order of Tune's cache."""
        self._waiting: set[str] = set()
        self._leaving: set[str] = set()
        self._called = 0
        """Jobs that were given to a process which still waits."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._given == _TRIALS_PER_TUNER or not self._jobs.left:
            if self._waiting:
                self._bell.ring(len(self._waiting))
            return Searcher.FINISHED
        slots = self._jobs.slots = self._slots(self._jobs.wanted)
        job = self._next() if len(self._running) < slots else None
        if job is None and not self._free:
            return None  # it asks again in a moment
        self._given += 1
        if job is None:
            return {"job": self._idle(trial_id, slots)}
        self._running[trial_id] = job
        if self._free:
            self._free.popleft()
        elif self._called < len(self._waiting):
            self._called += 1
            self._bell.ring()
        return {"job": job}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if trial_id in self._leaving:
            self._leaving.remove(trial_id)
            return
        if trial_id in self._waiting:
            self._waiting.remove(trial_id)
            if self._called:
                self._called -= 1
            elif result and result["rang"]:
                self._free.append(result["node"])
            return
        report = DIED if error or not result else result["report"]
        if result and report is not DIED:
            self._free.append(result["node"])
        try:
            self._jobs.ended(self._running.pop(trial_id), report)
        except Exception as trouble:  # as below
            self._jobs.stopped = self._jobs.stopped or trouble

    def _idle(self, trial_id: str, slots: int) -> "_Bell | _Leave":
        """What a process that is free does while there is no job for it."""
        too_many = len(self._running) + len(self._waiting) + len(self._free) > slots
        self._free.popleft()
        (self._leaving if too_many else self._waiting).add(trial_id)
        return _Leave() if too_many else self._bell

    def _next(self) -> Job | None:
        try:
            return self._jobs.next(self._free[0] if self._free else "")
        except Exception as error:  # such as a full disk under the searches: what runs may end, nothing more begins
            self._jobs.stopped = error
            return None

    def close(self) -> None:
        """Ends what was only there for waiting."""
        if "_bell" in vars(self):
            self._bell.take_down()

    @cached_property
    def _bell(self) -> _Bell:
        return _Bell(_LONGEST_WAIT)

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def save(self, checkpoint_path: str) -> None: ...

    def restore(self, checkpoint_path: str) -> None: ...


def _run(feed: _Feed, devices: Devices, folder: Path) -> None:
    """Lets Tune run a feed's jobs, on as many warm actors as the feed has slots."""
    own = {"CPU": 1.0, "GPU": devices.gpus}
    resources = own if devices.workers == 1 else {"CPU": 0.0, "memory": 1.0}  # a lane has its own; Tune refuses none
    tuner = tune.Tuner(
        tune.with_resources(_Trial, resources),
        tune_config=tune.TuneConfig(
            search_alg=feed,
            num_samples=_TRIALS_PER_TUNER,
            reuse_actors=True,
            max_concurrent_trials=_TRIALS_PER_TUNER,  # the feed itself holds back
            trial_name_creator=lambda trial: getattr(trial.config["job"], "name", "waiting"),
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
    feed.close()
    shutil.rmtree(folder, ignore_errors=True)  # Tune's bookkeeping: what is finished, the store and the searches know
