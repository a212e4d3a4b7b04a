"""The training loop: a generator that trains one model and yields an `Epoch` after each pass.

It knows nothing of Ray, MLflow, patience or checkpoints: whoever iterates decides what to keep and when to stop. Under
`torch.distributed` every process takes its share of each batch, and the numbers are those of one process.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

from sweeper.cell import Recipe, seed_of
from sweeper.data.loading import AUGMENTS, Loaded, Part, normalise
from sweeper.finetune.metrics import score
from sweeper.finetune.optim import make_optimizer
from sweeper.finetune.schedules import rate_at
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
) -> Iterator[Epoch]:
    """Trains `model` in place on the training part, scoring the validation part after each pass.

    Each pass shuffles the images and cuts them into nearly equal batches of at most `recipe.batch_size`.

    Args:
        lr: peak rate; `recipe.lr` is not read.
        frozen: modules kept in evaluation mode.

    Raises:
        DivergedError: when a loss or a prediction is no longer finite, naming the epoch and the rate.
    """
    rank, world = _place()
    optimizer = make_optimizer(model, recipe, lr)
    shuffle = torch.Generator().manual_seed(seed_of("order", seed))
    change = torch.Generator().manual_seed(seed_of("augment", seed))
    steps = math.ceil(len(data.train) / recipe.batch_size)
    step = 0
    for number in range(1, recipe.epochs + 1):
        began = time.perf_counter()
        _train_mode(model, frozen)
        total = torch.zeros((), device=view.device)
        for batch in torch.tensor_split(torch.randperm(len(data.train), generator=shuffle), steps):
            now = rate_at(
                step,
                steps=steps * recipe.epochs,
                peak=lr,
                schedule=recipe.schedule,
                warmup_steps=round(recipe.warmup * steps),
            )
            # The whole batch is changed before it is shared out: the draws do not depend on the number of processes.
            images = AUGMENTS[augment](data.train.tensor(batch.numpy()), change)[rank::world]
            labels = torch.from_numpy(data.train.labels[batch.numpy()])[rank::world].to(view.device)
            logits = model(_see(images, view))
            loss = F.cross_entropy(logits, labels, reduction="sum")
            for group in optimizer.param_groups:
                group["lr"] = now
            optimizer.zero_grad(set_to_none=True)
            (loss * world / len(batch)).backward()  # processes average their gradients
            optimizer.step()
            total += loss.detach()
            step += 1
        trained = time.perf_counter()
        train_loss = _sum(total) / len(data.train)
        if not math.isfinite(train_loss):
            raise DivergedError(f"the training loss became {train_loss} in epoch {number} at rate {lr:g}")
        probabilities = predict(getattr(model, "module", model), data.val, view)  # not through DDP: shares differ
        if not np.isfinite(probabilities).all():
            raise DivergedError(f"validation predictions are no longer finite after epoch {number} at rate {lr:g}")
        yield Epoch(
            number=number,
            train_loss=train_loss,
            scores=score(prediction_table(data.val, "val", probabilities), data.task),
            lr=now,
            seconds=time.perf_counter() - began,
            images_per_second=len(data.train) / (trained - began),
        )


def predict(model: nn.Module, part: Part, view: View) -> np.ndarray:
    """Class probabilities of a part's images, (images, classes), float64, in the part's order."""
    rank, world = _place()
    model.eval()
    own = np.arange(len(part))[rank::world]
    chunks = [own[start : start + _EVALUATION_BATCH] for start in range(0, len(own), _EVALUATION_BATCH)]
    with torch.inference_mode():
        found = [model(_see(part.tensor(chunk), view)).double().softmax(dim=1).cpu().numpy() for chunk in chunks]
    if world == 1:
        return np.concatenate(found)
    return _interleave(found, len(part), world)


def prediction_table(part: Part, name: str, probabilities: np.ndarray) -> pd.DataFrame:
    """One row per image: `image`, `patient`, `part`, `label`, `score_0`, `score_1`, ..."""
    scores = {f"score_{index}": probabilities[:, index] for index in range(probabilities.shape[1])}
    return pd.DataFrame({"image": part.names, "patient": part.patients, "part": name, "label": part.labels, **scores})


def _see(images: torch.Tensor, view: View) -> torch.Tensor:
    return normalise(images.to(view.device), view.mean, view.std)


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
