"""Ray Tune: runs a sweep's rate trials and cells, one trial each, on warm actors that are used again.

What comes next is `jobs`' business and training is `finetune`'s; resuming needs nothing of Tune, because what is
finished is asked of the store and of the searches.
"""

import gc
import shutil
import time
import traceback
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from sweeper.job import DIED, Job, Report
from sweeper.jobs import Jobs
from sweeper.orphan import die_with_parent
from sweeper.outcome import Devices

_TRIALS_PER_TUNER = 2000
"""Tune keeps every trial in the driver's memory, 45 KB each: a large sweep is a sequence of Tuners."""


def run_jobs(jobs: Jobs, devices: Devices, slots: int, work: Path) -> None:
    """Runs all jobs of a sweep, or those that it had begun when something stopped it: `jobs.stopped` says what.

    Args:
        slots: how many run at once.
        work: the study's folder of work in flight.

    """
    while jobs.left:
        _run(_Feed(jobs), devices, slots, work / f".tune-{time.time_ns()}")


class _Trial(tune.Trainable):
    """One job after another in the same warm process, which alone imports torch."""

    def setup(self, config: dict[str, Any]) -> None:
        die_with_parent()
        self._job: Job = config["job"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._job = new_config["job"]
        return True

    def step(self) -> dict[str, Any]:
        import torch

        from sweeper.finetune.faults import fault_of

        try:
            report = Report(told=self._job.run())
        except Exception as error:  # the one place where a failure is recorded and the sweep goes on
            report = Report(error=traceback.format_exc(), fault=fault_of(error))
        if report.fault == "memory":
            gc.collect()  # what the failed job held
            torch.cuda.empty_cache()
        return {"report": report, "done": True}

    def cleanup(self) -> None:
        from sweeper.finetune import close_lane

        close_lane()


class _Feed(Searcher):
    """Gives Tune one job after another and hears what came of each; Tune's own snapshots of it stay empty."""

    def __init__(self, jobs: Jobs) -> None:
        super().__init__()
        self._jobs = jobs
        self._given = 0
        self._running: dict[str, Job] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._given == _TRIALS_PER_TUNER or not self._jobs.left:
            return Searcher.FINISHED
        try:
            job = self._jobs.next()
        except Exception as error:  # such as a full disk under the searches: what runs may end, nothing more begins
            self._jobs.stopped = error
            job = None
        if job is None:
            return None if self._jobs.left else Searcher.FINISHED
        self._given += 1
        self._running[trial_id] = job
        return {"job": job}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        try:
            self._jobs.ended(self._running.pop(trial_id), DIED if error or not result else result["report"])
        except Exception as trouble:  # as above
            self._jobs.stopped = self._jobs.stopped or trouble

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def save(self, checkpoint_path: str) -> None: ...

    def restore(self, checkpoint_path: str) -> None: ...


def _run(feed: _Feed, devices: Devices, slots: int, folder: Path) -> None:
    """Lets Tune run a feed's jobs, on as many warm actors as there are slots."""
    own = {"CPU": 1.0, "GPU": devices.gpus}
    resources = own if devices.workers == 1 else {"CPU": 0.0, "memory": 1.0}  # a lane has its own; Tune refuses none
    tuner = tune.Tuner(
        tune.with_resources(_Trial, resources),
        tune_config=tune.TuneConfig(
            search_alg=feed,
            num_samples=_TRIALS_PER_TUNER,
            reuse_actors=True,
            max_concurrent_trials=slots,
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
