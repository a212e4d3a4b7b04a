"""A lane: one Ray Train run whose workers train one cell after another, so that their start-up is paid once.

What a job is, it does not know: a function of a configuration, the same in every worker. Ray is imported when a lane
is opened.
"""

import asyncio
import itertools
import threading
import traceback
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sweeper.finetune.faults import JobError, fault_of
from sweeper.finetune.loop import DivergedError
from sweeper.orphan import die_with_parent

Worker = Callable[[dict[str, Any]], None]
"""Run in every worker of a group; the first of them calls `config["tell"]` once."""
_SECONDS_BETWEEN_LOOKS = 2.0


class Lane:
    """A group of workers that waits for jobs until it is closed."""

    def __init__(self, workers: int, gpus: float, folder: Path) -> None:
        import ray

        self.workers, self.gpus = workers, gpus
        self._mailbox: Any = ray.remote(num_cpus=0)(_Mailbox).remote()
        self._jobs = itertools.count()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._train, args=(folder,), daemon=True)
        self._thread.start()

    @property
    def open(self) -> bool:
        """Whether its workers still take jobs."""
        return self._thread.is_alive()

    def run(self, worker: Worker, config: dict[str, Any]) -> dict[str, Any]:
        """What the first worker told.

        Raises:
            JobError: with the failed worker's traceback; or when a worker died.
        """
        import ray

        number = next(self._jobs)
        ray.get(self._mailbox.give.remote(number, (worker, config)))
        while True:
            alive = self.open
            answer: Any = ray.get(self._mailbox.answer.remote(number, _SECONDS_BETWEEN_LOOKS))
            if answer is not None:
                break
            if not alive:
                raise JobError(f"a worker of the group died: {self._error}", "system")
        if answer["fault"]:
            raise JobError(answer["error"], answer["fault"])
        return answer["told"]

    def close(self) -> None:
        """Ends the workers."""
        import ray

        ray.get(self._mailbox.give.remote(next(self._jobs), None))
        self._thread.join(timeout=30)
        ray.kill(self._mailbox)

    def _train(self, folder: Path) -> None:
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        trainer = TorchTrainer(
            _serve,
            train_loop_config={"mailbox": self._mailbox},
            scaling_config=ScalingConfig(
                num_workers=self.workers,
                use_gpu=self.gpus > 0,
                resources_per_worker={"CPU": 1, "GPU": self.gpus} if self.gpus else None,
                # Together where one node holds them all, since gradients travel faster within it; else over as few
                # nodes as hold them. The group is placed whole or waits: no two groups can each hold half.
                placement_strategy="PACK",
            ),
            run_config=RunConfig(name=folder.name, storage_path=str(folder.parent)),
        )
        try:
            trainer.fit()
        except Exception as error:  # noqa: BLE001 (raised in the caller's thread by `run`)
            self._error = error


def _serve(lane: dict[str, Any]) -> None:
    """One worker's life: job after job, in step with the others of its group."""
    import ray
    from ray import train

    die_with_parent()
    mailbox, rank = lane["mailbox"], train.get_context().get_world_rank()
    for number in itertools.count():
        job = ray.get(mailbox.job.remote(number))
        if job is None:
            return
        worker, config = job
        told: list[dict[str, Any]] = []
        try:
            worker(config | {"tell": told.append})
        except DivergedError as error:  # every worker raises it in the same epoch: the group is as good as before
            ray.get(mailbox.tell.remote(number, None, _text(error), fault_of(error)))
        except Exception as error:
            ray.get(mailbox.tell.remote(number, None, _text(error), fault_of(error)))
            raise  # the others may wait for this one for ever: the group ends
        else:
            if rank == 0:
                ray.get(mailbox.tell.remote(number, told[0], None, None))


def _text(error: Exception) -> str:
    return "".join(traceback.format_exception(error))


class _Mailbox:
    """Carries jobs to the workers of a lane and answers back."""

    def __init__(self) -> None:
        self._jobs: dict[int, asyncio.Future] = defaultdict(lambda: asyncio.get_running_loop().create_future())
        self._answers: dict[int, asyncio.Future] = defaultdict(lambda: asyncio.get_running_loop().create_future())

    async def give(self, number: int, job: Any) -> None:
        self._jobs.pop(number - 2, None)  # every worker has asked for a later one
        self._answers.pop(number - 2, None)
        self._jobs[number].set_result(job)

    async def job(self, number: int) -> Any:
        return await self._jobs[number]

    async def tell(self, number: int, told: Any, error: str | None, fault: str | None) -> None:
        if not self._answers[number].done():  # the first that fails is the cause
            self._answers[number].set_result({"told": told, "error": error, "fault": fault})

    async def answer(self, number: int, timeout: float) -> Any:
        done, _ = await asyncio.wait([self._answers[number]], timeout=timeout)
        return done.pop().result() if done else None
