"""The training loop: a generator that trains one model and yields an `Epoch` after each validation.

It knows nothing of Ray, MLflow, patience or checkpoints: whoever iterates decides what to keep and when to stop. Under
`torch.distributed` every process takes its share of each batch, and the numbers are those of one process. Images lie in
memory as channels_last, which is faster at every precision, and between validations nobody waits for the device.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import nn

from sweeper.cell import Recipe, seed_of
from sweeper.data.loading import AUGMENTS, Loaded, Part, hold, move
from sweeper.finetune.course import Course
from sweeper.finetune.features import Head, Shelf, is_fixed, see_once
from sweeper.finetune.group import alone, inner, interleave, place, sum_of
from sweeper.finetune.losses import Loss, make_loss, probabilities
from sweeper.finetune.metrics import score
from sweeper.finetune.monitors import DOUBLE_SOFTMAX, LOSS, watched
from sweeper.finetune.schedules import Rates, rates_of, stretch
from sweeper.finetune.view import EVALUATION_BATCH, View, forward, lay_out, train_mode
from sweeper.metric import Task
from sweeper.outcome import Epoch

__all__ = ["Course", "DivergedError", "View", "epochs", "predict", "prediction_table"]


class DivergedError(ArithmeticError):
    """Training left the finite numbers."""


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
    shelf: Shelf | None = None,
    rate: Callable[[int], float] | None = None,
) -> Iterator[Epoch]:
    """Trains `model` in place on the training part, scoring the validation part `recipe.validations` times a pass.

    Each pass shuffles the images and cuts them into nearly equal batches of at most `recipe.batch_size`. Training ends
    after `recipe.epochs` passes, or after a validation when the rate has come below `recipe.lr_floor`. The recipe's
    head epochs and patience are the caller's.

    Args:
        lr: peak rate, before it is scaled with the batch; `recipe.lr` is not read.
        frozen: modules kept in evaluation mode.
        course: where to go on, with the model as it was then: the epochs that follow are those of a training that was
            never interrupted, to the bit on a CPU. It moves on with every validation. None begins one.
        parts: each step's images go through the network in this many pieces, whose gradients are summed: the same
            step in less memory. Batch norm sees the pieces.
        shelf: where the features of a frozen backbone are kept; None computes them for this training alone.
        rate: step -> rate, in place of the recipe's, as a range test has it: nothing is validated then, and the epochs
            come without scores.

    Raises:
        DivergedError: when a loss or a prediction is no longer finite, naming the epoch and the rate.
        ValueError: when the view's `amp` is not the recipe's, or the recipe does not fit the data.
    """
    if view.amp != recipe.amp:
        raise ValueError(f"the view has amp '{view.amp}' and the recipe '{recipe.amp}'; give the view the recipe's")
    rank, world = place()
    course = course or Course.begin(model, recipe, lr, seed)
    steps = math.ceil(len(data.train) / recipe.batch_size)
    rates = rates_of(recipe, lr, steps) if rate is None else Rates(at=lambda step, **_: rate(step), rising=0, floor=0.0)
    loss = make_loss(recipe, data.train.labels, len(data.classes), view.device)
    at_once = max(EVALUATION_BATCH // parts, 1)
    began = time.perf_counter()
    lay_out(model)
    if augment == "none" and is_fixed(model, (data.train, data.val), view, frozen):
        seen = [see_once(model, part, view, at_once, shelf) for part in (data.train, data.val)]
        model, data, frozen = Head(model), replace(data, train=seen[0], val=seen[1]), ()
    elif parts == 1:
        data = replace(data, train=hold(data.train, view.device))
    truth = torch.tensor(data.train.labels, device=view.device)
    for number in range(course.done + 1, recipe.epochs * recipe.validations + 1):
        torch.manual_seed(seed_of("noise", seed, number, rank))  # dropout: nothing of it outlives a validation
        train_mode(model, frozen)
        now, images, masses, total = 0.0, 0, 0.0, torch.zeros((), device=view.device)
        taken = stretch(number, steps=steps, validations=recipe.validations)
        if number > 1 and rates.ended(taken.start, course.plateau.reductions):
            return
        if course.order is None:
            course.order = torch.randperm(len(data.train), generator=course.shuffle)
        batches = course.order.tensor_split(steps)
        answers = truth[move(course.order, view.device)].tensor_split(steps)
        for step in taken:
            batch, labels = batches[step % steps], answers[step % steps]
            now = rates.at(step, reductions=course.plateau.reductions)
            course.begin_step(now)
            # The whole batch is changed before it is shared out: the draws do not depend on the number of processes.
            shown = AUGMENTS[augment](move(data.train.tensor(batch.numpy()), view.device), course.change)[rank::world]
            pieces, mass = min(parts, max(len(shown), 1)), loss.mass(labels)
            cut = zip(shown.tensor_split(pieces), labels[rank::world].tensor_split(pieces), strict=True)
            for piece, (some, theirs) in enumerate(cut, start=1):
                with alone(model, piece < pieces):
                    part = loss.total(forward(model, some, view).float(), theirs)
                    course.scaler.scale(part / (mass / world)).backward()  # processes average their gradients
                total += part.detach()
            course.end_step(recipe.clip)
            images, masses = images + len(batch), masses + mass
        train_loss = sum_of(total) / float(masses)
        trained = time.perf_counter()
        where = f"in epoch {math.ceil(number / recipe.validations)} at rate {lr:g}"
        if not math.isfinite(train_loss):
            raise DivergedError(f"the training loss became {train_loss} {where}")
        scores = _judge(inner(model), data, recipe, loss, view, at_once, where) if rate is None else {}
        if recipe.schedule == "plateau" and taken.stop > rates.rising:
            course.plateau.see(watched(scores, recipe.monitor, data.metric), recipe.plateau)
        if number % recipe.validations == 0:
            course.order = None
        course.done = number
        yield Epoch(
            number=number,
            train_loss=train_loss,
            scores=scores,
            lr=now,
            seconds=time.perf_counter() - began,
            images_per_second=images / (trained - began),
        )
        began = time.perf_counter()


def predict(
    model: nn.Module,
    part: Part,
    view: View,
    batch: int = EVALUATION_BATCH,
    *,
    loss: str = "cross_entropy",
    task: Task = "multiclass",
) -> np.ndarray:
    """Class probabilities of a part's images, (images, classes), float64, in the part's order.

    Args:
        batch: images that are in memory at once.
        loss: what the model was trained with, which says how its logits are to be read.
        task: the data set's, which says whether an image's probabilities sum to 1.
    """
    return probabilities(_logits(model, part, view, batch), loss, task)


def prediction_table(part: Part, name: str, probabilities: np.ndarray) -> pd.DataFrame:
    """One row per image: `image`, `patient`, `part`, `label`, `score_0`, `score_1`, ...

    Of a multi-label set there are `label_0`, `label_1`, ... in place of `label`: 1, 0, or NaN where it is not known.
    """
    scores = {f"score_{index}": probabilities[:, index] for index in range(probabilities.shape[1])}
    labels = {"label": part.labels}
    if part.labels.ndim == 2:
        labels = {f"label_{index}": part.labels[:, index] for index in range(part.labels.shape[1])}
    return pd.DataFrame({"image": part.names, "patient": part.patients, "part": name, **labels, **scores})


def _logits(model: nn.Module, part: Part, view: View, batch: int) -> np.ndarray:
    """What the model makes of a part's images, (images, classes), float64, in the part's order."""
    rank, world = place()
    lay_out(model.eval())
    own = np.arange(len(part))[rank::world]
    chunks = [own[start : start + batch] for start in range(0, len(own), batch)]
    with torch.inference_mode():
        found = [forward(model, part.tensor(chunk), view).double() for chunk in chunks]
        return interleave([each.cpu().numpy() for each in found], len(part))


def _judge(
    model: nn.Module, data: Loaded, recipe: Recipe, loss: Loss, view: View, batch: int, where: str
) -> dict[str, float]:
    """The scores of the validation part, the recipe's loss among them; the model is not DDP's, whose shares differ."""
    logits = _logits(model, data.val, view, batch)
    if not np.isfinite(logits).all():
        raise DivergedError(f"validation predictions are no longer finite {where}")
    found = probabilities(logits, recipe.loss, data.task)
    scores = score(prediction_table(data.val, "val", found), data.task)
    scores[LOSS] = loss.mean(logits, data.val.labels)
    if recipe.monitor == DOUBLE_SOFTMAX:  # Peng et al. 2023 took probabilities as logits
        scores[DOUBLE_SOFTMAX] = loss.mean(found, data.val.labels)
    return scores
