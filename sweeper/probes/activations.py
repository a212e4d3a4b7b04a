"""Has the pieces that probes need made by a pool of warm actors, in one stream through Ray Data.

What leaves an actor is a file in the storage; the stream itself carries numbers alone. An actor holds at most two
models, a forward pass of 256 images, and the reduced features of one piece of 1,024: whatever the number of images.
"""

import logging
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import ray
import torch
from ray.exceptions import RayActorError

from sweeper.orphan import die_with_parent
from sweeper.outcome import ATTEMPTS, Devices
from sweeper.probes.making import Task, make
from sweeper.probes.needs import located
from sweeper.site import Site


def made(tasks: Sequence[Task], site: Site, *, slots: int, devices: Devices) -> Iterator[int]:
    """The number of each task, from 0, when it is done, in any order.

    Where a process dies (killed, its node lost), all begin again with the tasks that are left.

    Raises:
        ValueError: why a task cannot be made.
        RuntimeError: when processes died three times without a task done in between.
    """
    left, deaths = dict(enumerate(tasks)), 0
    while left:
        try:
            for number in _stream(left, site, min(slots, len(left)), devices):
                del left[number]
                deaths = 0
                yield number
        except RayActorError as error:
            deaths += 1
            if deaths == ATTEMPTS:
                raise RuntimeError(
                    f"{ATTEMPTS} times a process died that made what probes need (killed, or out of memory), with "
                    f"{len(left)} pieces left; Ray's logs say more, and the same command goes on"
                ) from error


def _stream(left: Mapping[int, Task], site: Site, actors: int, devices: Devices) -> Iterator[int]:
    """The numbers of the tasks that are left, by actors that Ray does not start again: it warns, in a line of C++ for
    each, that it could not, since Ray Data keeps what starts them in the object store."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # `live` says how far it is
    placed = {n: replace(task, needs=tuple(located(need, site) for need in task.needs)) for n, task in left.items()}
    items = [{"number": number, "task": pickle.dumps((task, site))} for number, task in placed.items()]
    # `map_batches` is this after checks that hold here, and warns of `max_restarts`: Ray 2.64 will not take it there
    rows = ray.data.from_items(items, override_num_blocks=len(items)).map_batches_internal(
        _Maker,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=actors),
        num_cpus=1,
        num_gpus=devices.gpus,
        max_restarts=0,
    )
    for row in rows.iter_rows():
        if row["refused"]:
            raise ValueError(row["refused"])
        yield int(row["number"])


class _Maker:
    """A warm process; `making` keeps its last two models and data sets."""

    def __init__(self) -> None:
        die_with_parent()
        self._device = torch.device("cuda" if torch.cuda.is_available() and ray.get_gpu_ids() else "cpu")
        if self._device.type == "cpu":
            torch.set_num_threads(1)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        task, site = pickle.loads(batch["task"][0])
        refused = ""
        try:
            make(task, site, self._device)
        except ValueError as error:  # raised by `made`, without Ray's own pages around it
            refused = str(error)
        return {"number": batch["number"], "refused": np.array([refused])}
