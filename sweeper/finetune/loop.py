"""The training loop: a generator that trains one model and yields an `Epoch` after each pass.

It knows nothing of Ray, MLflow, patience or checkpoints: whoever iterates decides what to keep and when to stop. Under
`torch.distributed` every process takes its share of each batch, and the numbers are those of one process. Images lie in
memory as channels_last, which is faster at every precision, and within an epoch nobody waits for the device.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, TypeGuard

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from sweeper.cell import Recipe, seed_of
from sweeper.data.loading import AUGMENTS, HELD_BYTES, Held, Loaded, Part, hold, move, normalise
from sweeper.finetune.metrics import score
from sweeper.finetune.optim import make_optimizer
from sweeper.finetune.schedules import rate_at
from sweeper.models.classifier import Classifier
from sweeper.outcome import Epoch

_EVALUATION_BATCH = 256


class DivergedError(ArithmeticError):
    """Training left the finite numbers."""


@dataclass(frozen=True, kw_only=True)
class View:
    """How a network sees images: what its weights were trained with."""

    mean: Sequence[float]
    """Per channel, of pixels in 0..1."""
    std: Sequence[float]
    device: torch.device
    amp: Literal["off", "bf16"] = "off"
    """As in the recipe."""


@dataclass(kw_only=True, eq=False)
class Course:
    """What a training has come to: everything but the model that the next epoch depends on."""

    optimizer: torch.optim.Optimizer
    shuffle: torch.Generator
    """Draws the order of the images."""
    change: torch.Generator
    """Draws the augmentation."""
    done: int = 0
    """Epochs that are finished."""

    @classmethod
    def begin(cls, model: nn.Module, recipe: Recipe, lr: float, seed: int) -> Self:
        """The course before the first epoch."""
        return cls(
            optimizer=make_optimizer(model, recipe, lr),
            shuffle=torch.Generator().manual_seed(seed_of("order", seed)),
            change=torch.Generator().manual_seed(seed_of("augment", seed)),
        )

    def state(self) -> dict[str, Any]:
        """A copy in plain values and CPU tensors, of use between two epochs alone, the same in every process.

        `torch.load(weights_only=True)` reads what `torch.save` wrote of it.
        """
        moments = self.optimizer.state_dict()["state"]
        return {
            "done": self.done,
            "shuffle": self.shuffle.get_state(),
            "change": self.change.get_state(),
            "moments": {index: {name: _copied(value) for name, value in of.items()} for index, of in moments.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Puts this course where `state` was taken; the model's weights are the caller's to put back.

        Raises:
            ValueError: when the state belongs to other parameters than the optimizer's.
        """
        parameters = [each for group in self.optimizer.param_groups for each in group["params"]]
        for index, held in state["moments"].items():
            shapes = {value.shape for value in held.values() if isinstance(value, torch.Tensor) and value.ndim}
            if index >= len(parameters) or shapes - {parameters[index].shape}:
                raise ValueError(
                    f"the state of parameter {index} does not fit the network's {len(parameters)} trained parameters; "
                    "restore the state of a training of this very network"
                )
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": copy.deepcopy(state["moments"]), "param_groups": groups})
        self.shuffle.set_state(state["shuffle"])
        self.change.set_state(state["change"])
        self.done = state["done"]


def epochs(
    model: nn.Module,
    data: Loaded,
    recipe: Recipe,
    *,
    lr: float,
    augment: str,
    seed: int,
    view: View,
    frozen: Sequence[nn.Module] = (),
    course: Course | None = None,
    parts: int = 1,
) -> Iterator[Epoch]:
    """Trains `model` in place on the training part, scoring the validation part after each pass.

    Each pass shuffles the images and cuts them into nearly equal batches of at most `recipe.batch_size`.

    Args:
        lr: peak rate; `recipe.lr` is not read.
        frozen: modules kept in evaluation mode.
        course: where to go on, with the model as it was then: the epochs that follow are those of a training that was
            never interrupted, to the bit on a CPU. It moves on with every epoch. None begins one.
        parts: each step's images go through the network in this many pieces, whose gradients are summed: the same
            step in less memory. Batch norm sees the pieces.

    Raises:
        DivergedError: when a loss or a prediction is no longer finite, naming the epoch and the rate.
        ValueError: when the view's `amp` is not the recipe's.
    """
    if view.amp != recipe.amp:
        raise ValueError(f"the view has amp '{view.amp}' and the recipe '{recipe.amp}'; give the view the recipe's")
    rank, world = _place()
    course = course or Course.begin(model, recipe, lr, seed)
    steps = math.ceil(len(data.train) / recipe.batch_size)
    at_once = max(_EVALUATION_BATCH // parts, 1)
    began = time.perf_counter()
    _lay_out(model)
    if augment == "none" and _is_fixed(model, data, view, frozen):
        model, data, frozen = model.head, _see_once(model, data, view, at_once), ()
    elif parts == 1:
        data = replace(data, train=hold(data.train, view.device))
    truth = torch.tensor(data.train.labels, device=view.device)
    for number in range(course.done + 1, recipe.epochs + 1):
        torch.manual_seed(seed_of("noise", seed, number, rank))  # dropout: nothing of it outlives an epoch
        _train_mode(model, frozen)
        total = torch.zeros((), device=view.device)
        order = torch.randperm(len(data.train), generator=course.shuffle)
        batches = zip(order.tensor_split(steps), truth[move(order, view.device)].tensor_split(steps), strict=True)
        for step, (batch, labels) in enumerate(batches, start=steps * (number - 1)):
            now = rate_at(
                step,
                steps=steps * recipe.epochs,
                peak=lr,
                schedule=recipe.schedule,
                warmup_steps=round(recipe.warmup * steps),
            )
            for group in course.optimizer.param_groups:
                group["lr"] = now
            course.optimizer.zero_grad(set_to_none=True)
            # The whole batch is changed before it is shared out: the draws do not depend on the number of processes.
            images = AUGMENTS[augment](move(data.train.tensor(batch.numpy()), view.device), course.change)[rank::world]
            pieces = min(parts, max(len(images), 1))
            cut = zip(images.tensor_split(pieces), labels[rank::world].tensor_split(pieces), strict=True)
            for piece, (some, theirs) in enumerate(cut, start=1):
                with _alone(model, piece < pieces):
                    loss = F.cross_entropy(_forward(model, some, view).float(), theirs, reduction="sum")
                    (loss / (len(batch) / world)).backward()  # processes average their gradients
                total += loss.detach()
            course.optimizer.step()
        train_loss = _sum(total) / len(data.train)
        trained = time.perf_counter()
        if not math.isfinite(train_loss):
            raise DivergedError(f"the training loss became {train_loss} in epoch {number} at rate {lr:g}")
        probabilities = predict(getattr(model, "module", model), data.val, view, at_once)  # not DDP: shares differ
        if not np.isfinite(probabilities).all():
            raise DivergedError(f"validation predictions are no longer finite after epoch {number} at rate {lr:g}")
        course.done = number
        yield Epoch(
            number=number,
            train_loss=train_loss,
            scores=score(prediction_table(data.val, "val", probabilities), data.task),
            lr=now,
            seconds=time.perf_counter() - began,
            images_per_second=len(data.train) / (trained - began),
        )
        began = time.perf_counter()


def predict(model: nn.Module, part: Part, view: View, batch: int = _EVALUATION_BATCH) -> np.ndarray:
    """Class probabilities of a part's images, (images, classes), float64, in the part's order.

    Args:
        batch: images that are in memory at once.
    """
    rank, world = _place()
    _lay_out(model.eval())
    own = np.arange(len(part))[rank::world]
    chunks = [own[start : start + batch] for start in range(0, len(own), batch)]
    with torch.inference_mode():
        found = [_forward(model, part.tensor(chunk), view).double().softmax(dim=1) for chunk in chunks]
        found = [each.cpu().numpy() for each in found]
    if world == 1:
        return np.concatenate(found)
    return _interleave(found, len(part), world)


def prediction_table(part: Part, name: str, probabilities: np.ndarray) -> pd.DataFrame:
    """One row per image: `image`, `patient`, `part`, `label`, `score_0`, `score_1`, ..."""
    scores = {f"score_{index}": probabilities[:, index] for index in range(probabilities.shape[1])}
    return pd.DataFrame({"image": part.names, "patient": part.patients, "part": name, "label": part.labels, **scores})


def _forward(network: Callable[..., torch.Tensor], images: torch.Tensor, view: View) -> torch.Tensor:
    """What the network makes of images; those that a fixed backbone has already made features of go in as they are."""
    images = move(images, view.device)
    if images.dtype == torch.uint8:
        images = normalise(images, view.mean, view.std)
    with torch.autocast(view.device.type, torch.bfloat16, enabled=view.amp == "bf16"):
        return network(images)


def _is_fixed(model: nn.Module, data: Loaded, view: View, frozen: Sequence[nn.Module]) -> TypeGuard[Classifier]:
    """Whether the backbone gives an image the same features in every epoch, and there is room for all of them."""
    if not isinstance(model, Classifier) or _place()[1] > 1:
        return False
    kept = {id(tensor) for module in frozen for tensor in (*module.parameters(), *module.buffers())}
    tensors = (*model.backbone.parameters(), *model.backbone.buffers())
    if any(id(tensor) not in kept or tensor.requires_grad for tensor in tensors):
        return False
    if 4 * model.head.in_features * (len(data.train) + len(data.val)) > HELD_BYTES:
        return False
    images = data.train.tensor(np.arange(len(data.train))[:8])
    _train_mode(model, frozen)
    with torch.no_grad():  # equal, unless something like dropout lies outside the frozen modules
        training = _forward(model.features, images, view)
        return torch.equal(training, _forward(model.eval().features, images, view))


def _see_once(model: Classifier, data: Loaded, view: View, batch: int) -> Loaded:
    """The data with the backbone's features in place of the training and validation images."""
    held = []
    for part in (data.train, data.val):
        chunks = np.array_split(np.arange(len(part)), math.ceil(len(part) / batch))
        with torch.no_grad():  # what is made in inference mode cannot train a head
            features = [_forward(model.eval().features, part.tensor(chunk), view) for chunk in chunks]
        held.append(Held(**vars(part), inputs=torch.cat(features)))
    return replace(data, train=held[0], val=held[1])


def _lay_out(model: nn.Module) -> None:
    """Puts weights into channels_last, unless DDP may hold them: it would mix up their gradients without a word."""
    if not dist.is_initialized():
        model.to(memory_format=torch.channels_last)


def _copied(value: Any) -> Any:
    return value.detach().to("cpu", copy=True) if isinstance(value, torch.Tensor) else value


def _alone(model: nn.Module, alone: bool) -> AbstractContextManager:
    """Within it gradients stay in their process: they are exchanged with the last piece of a step."""
    return model.no_sync() if alone and isinstance(model, DistributedDataParallel) else nullcontext()


def _train_mode(model: nn.Module, frozen: Sequence[nn.Module]) -> None:
    model.train()
    for module in frozen:
        module.eval()


def _place() -> tuple[int, int]:
    """This process's rank and the number of processes."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def _sum(value: torch.Tensor) -> float:
    """The sum over all processes."""
    if dist.is_initialized():
        dist.all_reduce(value)
    return value.item()


def _interleave(found: list[np.ndarray], images: int, world: int) -> np.ndarray:
    """All processes' rows in the part's order; every process gets them all."""
    gathered: list[list[np.ndarray]] = [[] for _ in range(world)]
    dist.all_gather_object(gathered, found)
    classes = next(chunk.shape[1] for chunks in gathered for chunk in chunks)
    rows = np.empty((images, classes))
    for rank, chunks in enumerate(gathered):
        if chunks:
            rows[rank::world] = np.concatenate(chunks)
    return rows
