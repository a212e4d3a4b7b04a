"""One cell's training in its phases, which goes on after the last validation of an attempt that was interrupted.

What starts it, what is written of it when it is done and which worker it runs in is decided elsewhere. Ray is imported
inside the functions, so that the rest runs where there is no Ray.
"""

import copy
import io
import math
import platform
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sweeper import models, weights
from sweeper.cell import Cell, Recipe, seed_of
from sweeper.data.loading import Loaded, Part, load
from sweeper.finetune.course import Course
from sweeper.finetune.features import Head, Shelf, is_fixed, see_once
from sweeper.finetune.loop import epochs, predict
from sweeper.finetune.monitors import watched
from sweeper.finetune.optim import freeze_blocks
from sweeper.finetune.view import EVALUATION_BATCH, View
from sweeper.models.classifier import Classifier
from sweeper.outcome import Curve, Epoch
from sweeper.site import Site
from sweeper.work import CURVE, write_whole

_PROGRESS = "progress.pt"
_SECONDS_BETWEEN_CURVES = 20.0


@dataclass(frozen=True, kw_only=True)
class Start:
    """A model ready to be trained, and the images it will see."""

    model: Classifier
    data: Loaded
    view: View
    frozen: Sequence[nn.Module]
    """Kept in evaluation mode."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of a training with a recipe of its own."""

    name: Literal["head", "full"]
    recipe: Recipe
    lr: float
    seed: int
    frozen: Sequence[nn.Module]
    """Kept in evaluation mode."""


def device_name(device: torch.device) -> str:
    """A GPU's name as its maker gives it, or the kind of processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()


def start(cell: Cell, site: Site, device: torch.device) -> Start:
    """The cell's model as it starts, drawn from the cell's seed alone, and its images."""
    data = load(cell.images, site, look=False)
    torch.manual_seed(seed_of("start", cell.network.model, cell.seed))
    model = models.build(cell.network, classes=len(data.classes), size=cell.images.size)
    pixels = weights.pixels_of(cell.images, cell.weights.source, cell.network.model, site)
    weights.pour(cell.weights, model, seed=cell.seed, site=site, order=pixels.order)
    view = View(mean=pixels.mean, std=pixels.std, order=pixels.order, device=device, amp=cell.recipe.amp)
    return Start(model=model, data=data, view=view, frozen=_freeze(model, cell))


class Training:
    """One cell's training, which goes on after the last validation of an attempt that was interrupted."""

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
        self._parts = config["parts"]
        self.ready = _prepare(self.cell, config["site"])
        self._shelf = Shelf(folder=config["site"].cache / "features", fingerprint=self.ready.data.fingerprint)
        self._phases = _phases(self.cell, config["lr"], self.ready)
        self._kept: dict[str, Any] | None = None
        """The course of an interrupted attempt, for the first of the phases that are left."""
        self._known = {
            "lr": config["lr"],
            "parts": self._parts,
            "tags": config["tags"],
            "fingerprint": self.ready.data.fingerprint,
            **({"split_files": dict(files)} if (files := self.ready.data.split_files) else {}),
        }
        self._go_on()

    def epochs(self) -> Iterator[Epoch]:
        """The epochs that are still to train; each is on disk when the next is asked for."""
        while self._phases:
            phase = self._phases[0]
            with _head_alone(self.ready.model) if phase.name == "head" else nullcontext():
                yield from self._train(phase)
            self._phases.pop(0)

    def values(self, phase: str = "full") -> list[float]:
        """The monitor's value at each validation of a phase, its sign turned where lower is better."""
        monitor = self.cell.recipe.monitor if phase == "full" else self.cell.recipe.head_monitor
        return [watched(each.scores, monitor, self.ready.data.metric) for each in self.done if each.phase == phase]

    def predict(self, part: Part) -> np.ndarray:
        """Class probabilities of a part's images by the model as it is, (images, classes), in the part's order."""
        model, view, loss, task = self.ready.model, self.ready.view, self.cell.recipe.loss, self.ready.data.task
        if is_fixed(model, (part,), view, self.ready.frozen):
            seen = see_once(model, part, view, max(EVALUATION_BATCH // self._parts, 1), self._shelf)
            return predict(Head(model), seen, view, loss=loss, task=task)
        return predict(model, part, view, loss=loss, task=task)

    def _train(self, phase: Phase) -> Iterator[Epoch]:
        model = wrapped(self.ready.model)
        course = Course.begin(model, phase.recipe, phase.lr, phase.seed)
        if self._kept:
            course.restore(self._kept)
            self._kept = None
        before = len(self.done) - course.done
        if self._head_is_learnt(phase):
            return
        for each in epochs(
            model,
            self.ready.data,
            phase.recipe,
            lr=phase.lr,
            augment=self.cell.images.augment,
            seed=phase.seed,
            view=self.ready.view,
            frozen=phase.frozen,
            course=course,
            parts=self._parts,
            shelf=self._shelf,
        ):
            self.done.append(replace(each, number=before + each.number, phase=phase.name))
            if phase.name == "full" and _last_is_best(self.values()):
                self.best, self.best_state = len(self.done), copy.deepcopy(self.ready.model.state_dict())
            yield self.done[-1]
            if self.first and not (phase.name == "full" and course.done == _validations(phase.recipe)):
                self._keep(course)
            if self._head_is_learnt(phase):
                return

    def _head_is_learnt(self, phase: Phase) -> bool:
        """Whether the head's phase ends for want of a better head."""
        patience, values = phase.recipe.patience, self.values("head")
        if phase.name != "head" or patience is None or not values:
            return False
        return len(values) - 1 - values.index(max(values)) >= patience

    def _keep(self, course: Course) -> None:
        buffer = io.BytesIO()
        state = {
            "known": self._known,
            "course": course.state(),
            "phases": len(self._phases),
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
        self._phases, self._kept = self._phases[-state["phases"] :], state["course"]
        self.best, self.best_state = state["best"], state["best_state"]
        self.done = [Epoch(**each) for each in state["done"]]


def forget_progress(folder: Path) -> None:
    """Removes what a training kept to go on with."""
    for name in (_PROGRESS, CURVE):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "train", ignore_errors=True)  # Ray Train's


def _phases(cell: Cell, lr: float, ready: Start) -> list[Phase]:
    """The head's phase, where the recipe has one, and that of everything it trains."""
    recipe = cell.recipe
    full = Phase(name="full", recipe=recipe, lr=lr, seed=cell.seed, frozen=ready.frozen)
    if not recipe.head_epochs:
        return [full]
    constant = replace(recipe, schedule="constant", milestones=(), warmup=0.0, warmup_steps=0, lr_floor=0.0)
    head = replace(
        constant,
        epochs=recipe.head_epochs,
        patience=recipe.head_patience,
        monitor=recipe.head_monitor,
        backbone_decay=1.0,
    )
    rate = lr if recipe.head_lr is None else recipe.head_lr
    seed = seed_of("head", cell.seed)
    return [Phase(name="head", recipe=head, lr=rate, seed=seed, frozen=[ready.model.backbone]), full]


@contextmanager
def _head_alone(model: Classifier) -> Iterator[None]:
    """Within it nothing of the backbone is trained."""
    trained = [each for each in model.backbone.parameters() if each.requires_grad]
    for each in trained:
        each.requires_grad_(False)
    yield
    for each in trained:
        each.requires_grad_(True)
        each.grad = None


def _last_is_best(values: Sequence[float]) -> bool:
    return values[-1] > max(values[:-1], default=-math.inf)


def _validations(recipe: Recipe) -> int:
    return recipe.epochs * recipe.validations


def _freeze(model: Classifier, cell: Cell) -> list[nn.Module]:
    """The modules of the frozen blocks that stay in evaluation mode; their parameters are not trained any more."""
    modules = freeze_blocks(model, cell.network, cell.recipe.frozen)
    return [] if cell.recipe.frozen_norms == "learn" else modules


def _prepare(cell: Cell, site: Site) -> Start:
    """The cell's start on this worker's device."""
    from ray import train
    from ray.train.torch import get_device

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
        models.share_norms(ready.model)
        ready = replace(ready, frozen=_freeze(ready.model, cell))  # norms among the frozen modules are others now
    ready.model.to(device).to(memory_format=torch.channels_last)  # before it is wrapped, which fixes the layout
    return ready


def wrapped(model: nn.Module) -> nn.Module:
    """The model to train: the same one, or its distributed wrapper, which holds what is trained when it is made."""
    from ray import train
    from ray.train.torch import prepare_model

    return prepare_model(model) if train.get_context().get_world_size() > 1 else model


def _learns_statistics(ready: Start) -> bool:
    """Whether a batch norm outside the frozen blocks would see only its worker's share of each batch."""
    fixed = {id(module) for block in ready.frozen for module in block.modules()}
    return any(isinstance(each, _BatchNorm) and id(each) not in fixed for each in ready.model.modules())
