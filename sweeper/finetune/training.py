"""One cell's training, which goes on after the last whole epoch of an attempt that was interrupted.

What starts it, what is written of it when it is done and which worker it runs in is decided elsewhere. Ray is imported
inside the functions, so that the rest runs where there is no Ray.
"""

import copy
import io
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sweeper import models, weights
from sweeper.cell import Cell, seed_of
from sweeper.data.loading import Loaded, load
from sweeper.finetune.loop import Course, View, epochs
from sweeper.finetune.optim import freeze_blocks
from sweeper.outcome import Curve, Epoch
from sweeper.site import Site
from sweeper.work import CURVE, write_whole

_PROGRESS = "progress.pt"
_SECONDS_BETWEEN_CURVES = 20.0


@dataclass(frozen=True, kw_only=True)
class Start:
    """A model ready to be trained, and the images it will see."""

    model: nn.Module
    data: Loaded
    view: View
    frozen: Sequence[nn.Module]


def start(cell: Cell, site: Site, device: torch.device) -> Start:
    """The cell's model as it starts, drawn from the cell's seed alone, and its images."""
    data = load(cell.images, site)
    torch.manual_seed(seed_of("start", cell.network.model, cell.seed))
    model = models.build(cell.network, classes=len(data.classes), channels=3)
    weights.pour(cell.weights, model, seed=cell.seed, site=site)
    mean, std = weights.normalisation(cell.weights.source, cell.network.model, site)
    frozen = freeze_blocks(model, cell.network, cell.recipe.frozen)
    return Start(
        model=model, data=data, view=View(mean=mean, std=std, device=device, amp=cell.recipe.amp), frozen=frozen
    )


class Training:
    """One cell's training, which goes on after the last whole epoch of an attempt that was interrupted."""

    def __init__(self, config: dict[str, Any]) -> None:
        from ray import train

        self.cell: Cell = config["cell"]
        self.folder: Path = config["folder"]
        self.first = train.get_context().get_world_rank() == 0
        self.done: list[Epoch] = []
        self.best = 0
        """Number of the best epoch so far; the first of equals."""
        self.best_state: dict[str, torch.Tensor] = {}
        self._shown = time.monotonic()
        self._lr, self._parts = config["lr"], config["parts"]
        self.ready, self._trained = _prepare(self.cell, config["site"])
        self._course = Course.begin(self._trained, self.cell.recipe, self._lr, self.cell.seed)
        self._known = {
            "lr": self._lr,
            "parts": self._parts,
            "tags": config["tags"],
            "fingerprint": self.ready.data.fingerprint,
        }
        self._go_on()

    def epochs(self) -> Iterator[Epoch]:
        """The epochs that are still to train; each is on disk when the next is asked for."""
        metric = self.ready.data.metric
        for epoch in epochs(
            self._trained,
            self.ready.data,
            self.cell.recipe,
            lr=self._lr,
            augment=self.cell.images.augment,
            seed=self.cell.seed,
            view=self.ready.view,
            frozen=self.ready.frozen,
            course=self._course,
            parts=self._parts,
        ):
            self.done.append(epoch)
            if self.best == 0 or epoch.scores[metric] > self.done[self.best - 1].scores[metric]:
                self.best, self.best_state = epoch.number, copy.deepcopy(self.ready.model.state_dict())
            yield epoch
            if self.first and epoch.number < self.cell.recipe.epochs:
                self._keep()

    def _keep(self) -> None:
        buffer = io.BytesIO()
        state = {
            "known": self._known,
            "course": self._course.state(),
            "model": self.ready.model.state_dict(),
            "best_state": self.best_state,
            "best": self.best,
            "done": [asdict(epoch) for epoch in self.done],
        }
        torch.save(state, buffer)
        write_whole(self.folder / _PROGRESS, buffer.getvalue())
        if time.monotonic() - self._shown > _SECONDS_BETWEEN_CURVES:  # short cells are shown when they are recorded
            write_whole(self.folder / CURVE, Curve(cell=self.cell, epochs=tuple(self.done)).to_json().encode())
            self._shown = time.monotonic()

    def _go_on(self) -> None:
        """Takes up an interrupted attempt, unless it had another rate, other images or other code."""
        path = self.folder / _PROGRESS
        if not path.exists():
            return
        state = torch.load(path, weights_only=True, map_location="cpu")
        if state["known"] != self._known:
            return
        self.ready.model.load_state_dict(state["model"])
        self._course.restore(state["course"])
        self.best, self.best_state = state["best"], state["best_state"]
        self.done = [Epoch(**each) for each in state["done"]]


def forget_progress(folder: Path) -> None:
    """Removes what a training kept to go on with."""
    for name in (_PROGRESS, CURVE):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "train", ignore_errors=True)  # Ray Train's


def _prepare(cell: Cell, site: Site) -> tuple[Start, nn.Module]:
    """The cell's start, and the model to train: the same one, or its distributed wrapper."""
    from ray import train
    from ray.train.torch import get_device, prepare_model

    device = get_device()
    world = train.get_context().get_world_size()
    if device.type == "cpu":
        torch.set_num_threads(1)  # slots share the cores, and the sums do not depend on how many there are
    ready = start(cell, site, device)
    if world > 1 and device.type == "cpu" and _learns_statistics(ready):
        raise ValueError(
            f"{cell.title()}: '{cell.network.model}' has batch norm, whose statistics CPU workers cannot share; "
            "use workers_per_cell=1"
        )
    if world > 1 and device.type != "cpu":
        ready = replace(ready, model=nn.SyncBatchNorm.convert_sync_batchnorm(ready.model))
    ready.model.to(device).to(memory_format=torch.channels_last)  # before it is wrapped, which fixes the layout
    return ready, prepare_model(ready.model) if world > 1 else ready.model


def _learns_statistics(ready: Start) -> bool:
    """Whether a batch norm outside the frozen blocks would see only its worker's share of each batch."""
    fixed = {id(module) for block in ready.frozen for module in block.modules()}
    return any(isinstance(each, _BatchNorm) and id(each) not in fixed for each in ready.model.modules())
