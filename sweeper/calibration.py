"""How many cells of a sweep share one GPU: measured on the device with the sweep's own heaviest cell, and recorded.

A device is shared by as many processes as its memory holds and as still add to its images per second. Processors are
not measured: there one single-threaded process a core is the fastest for every network that we know of.
"""

import json
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from sweeper.cell import Cell
from sweeper.site import Site
from sweeper.work import write_whole

COUNTS = (1, 2, 4, 8)
"""Processes on one device that are tried."""
_SECONDS = 3.0
"""Of training in each measurement."""
_BATCHES = 8
"""Of an epoch while measuring, so that an epoch is short beside a measurement."""
_WORTH = 0.95
"""Fewer processes are taken when they come to this share of the most images per second."""
_MEMORY = 0.9
"""Share of the device's memory that cells may fill."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What was measured on one device."""

    device: str
    """Its name, as torch tells it."""
    cell: str
    """Key of the cell that was trained: the one with the most multiply-accumulates in a step."""
    bytes_each: int
    """Device memory of one process, context included; 0 on a processor."""
    images_per_second: dict[int, float]
    """Processes on the device -> training images per second of all together."""

    @property
    def count(self) -> int:
        """The fewest processes that come to 95 % of the most images per second."""
        most = max(self.images_per_second.values())
        return min(count for count, rate in self.images_per_second.items() if rate >= _WORTH * most)

    @property
    def share(self) -> float:
        """Of the device, for each process: 1 / count, rounded down to Ray's four digits."""
        return math.floor(1e4 / self.count) / 1e4

    def to_json(self) -> str:
        """JSON that `from_json` reads back to an equal value."""
        return json.dumps(asdict(self) | {"share": self.share}, indent=1)

    @staticmethod
    def from_json(text: str) -> "Calibration":
        """The value that `to_json` wrote."""
        plain = json.loads(text)
        del plain["share"]
        rates = {int(count): rate for count, rate in plain.pop("images_per_second").items()}
        return Calibration(images_per_second=rates, **plain)


def calibrated(cells: Sequence[Cell], site: Site, folder: Path) -> Calibration:
    """What was measured for these cells on the connected cluster's GPU; measured once, then read from `folder`.

    A minute or two of one GPU, which must be free. Other cells or another kind of GPU are measured anew.
    """
    path = folder / "calibration.json"
    kinds = distinct(cells)
    if path.exists():
        known = Calibration.from_json(path.read_text())
        if known.cell in {cell.key for cell in kinds} and known.device == ray.get(_device_name.remote()):
            return known
    folder.mkdir(parents=True, exist_ok=True)
    found = measure(kinds, site, gpus=1)
    write_whole(path, found.to_json().encode())
    return found


def distinct(cells: Iterable[Cell]) -> list[Cell]:
    """One cell for each combination of what memory and speed depend on, the first declared."""
    found: dict[Any, Cell] = {}
    for cell in cells:
        recipe = cell.recipe
        kind = (cell.network, cell.images.size, recipe.batch_size, recipe.amp, recipe.frozen, recipe.optimizer)
        found.setdefault(kind, cell)
    return list(found.values())


def measure(cells: Sequence[Cell], site: Site, *, gpus: float, counts: Sequence[int] = COUNTS) -> Calibration:
    """Trains the heaviest of the cells on one device in 1, 2, 4, ... processes at once, for seconds each.

    Args:
        gpus: 1 for a GPU, 0 for the processor.
        counts: in rising order; those that the device's memory or the node's cores do not hold are left out.
    """
    cores = max(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Resources"].get("GPU", 0) >= gpus)
    most = max(count for count in counts if count == 1 or count <= cores)
    group = placement_group([{"CPU": most, "GPU": gpus} if gpus else {"CPU": most}])  # one device for all
    ray.get(group.ready())
    try:
        return _measure(cells, site, group, [count for count in counts if count <= most], gpus / most)
    finally:
        remove_placement_group(group)


def _measure(cells: Sequence[Cell], site: Site, group: Any, counts: Sequence[int], gpus: float) -> Calibration:
    where = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0)
    actor = ray.remote(_Load).options(num_cpus=1, num_gpus=math.floor(1e4 * gpus) / 1e4, scheduling_strategy=where)
    loads: list[Any] = []
    each = 0
    ready: dict[str, Any] = {}
    while len(loads) < counts[-1]:  # one after another, so that the memory that each takes is seen
        load = actor.remote(list(cells), site)
        ready = ray.get(load.prepare.remote())
        loads.append(load)
        each = max(each, ready["bytes"])
        if each and (len(loads) + 1) * each > _MEMORY * ready["total"]:
            break
    rates = {
        count: sum(ray.get([load.rate.remote(_SECONDS) for load in loads[:count]]), 0.0)
        for count in counts
        if count <= len(loads)
    }
    return Calibration(device=ready["device"], cell=ready["cell"], bytes_each=each, images_per_second=rates)


class _Load:
    """One process that trains the heaviest of some cells for as long as it is asked to."""

    def __init__(self, cells: Sequence[Cell], site: Site) -> None:
        self._cells, self._site = cells, site

    def prepare(self) -> dict[str, Any]:
        """Trains a few steps, after which the process holds all the memory that it will need."""
        import torch

        from sweeper.data.loading import cut_short
        from sweeper.finetune.training import start

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if device.type == "cpu":
            torch.set_num_threads(1)
        before = torch.cuda.mem_get_info()[0] if device.type == "cuda" else 0
        self._cell = max(self._cells, key=_macs)
        self._ready = start(self._cell, self._site, device)
        self._ready.model.to(device)
        self._data = cut_short(self._ready.data, _BATCHES * self._cell.recipe.batch_size)
        self.rate(0.0)
        free, total = torch.cuda.mem_get_info() if device.type == "cuda" else (0, 0)
        return {
            "bytes": max(before - free, 0),
            "total": total,
            "device": _name(),
            "cell": self._cell.key,
        }

    def rate(self, seconds: float) -> float:
        """Training images a second, over whole short epochs until so many seconds are over; at least one."""
        from dataclasses import replace

        from sweeper.finetune.loop import epochs

        recipe = replace(
            self._cell.recipe,
            epochs=10**6,
            schedule="constant",
            milestones=(),
            warmup=0.0,
            warmup_steps=0,
            head_epochs=0,
        )
        images, began = 0, time.perf_counter()
        for _ in epochs(
            self._ready.model,
            self._data,
            recipe,
            lr=1e-6,
            augment=self._cell.images.augment,
            seed=0,
            view=self._ready.view,
            frozen=self._ready.frozen,
        ):
            images += len(self._data.train)
            if time.perf_counter() - began >= seconds:
                break
        return images / (time.perf_counter() - began)


def _macs(cell: Cell) -> int:
    """Multiply-accumulates of a forward pass of one batch."""
    from sweeper import models

    each = models.count(cell.network, classes=2, size=cell.images.size).macs
    return each * cell.recipe.batch_size


def _name() -> str:
    import platform

    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()


@ray.remote(num_gpus=0.01, num_cpus=0)
def _device_name() -> str:
    return _name()
