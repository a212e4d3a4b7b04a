"""One training whose rate rises from stretch to stretch: the loss curve that a rate is read from (Smith 2017).

Which rate that is, is `ladder`'s business. Neither the validation nor the test part is scored, and nothing is kept to
go on with: a range test that was interrupted is made again.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from torch import nn

from sweeper.cell import Cell, Recipe
from sweeper.finetune.loop import epochs
from sweeper.finetune.schedules import rates_of, stretch
from sweeper.finetune.training import Start
from sweeper.ladder import exploded_at
from sweeper.outcome import Epoch


def climb(model: nn.Module, ready: Start, cell: Cell, rates: Sequence[float], *, parts: int = 1) -> Iterator[Epoch]:
    """Trains `model` in place while the rate rises, and yields each stretch; the last one may be one that exploded.

    The steps of the recipe's epochs are shared out evenly, a stretch per rate. The order of the images, augmentation
    and dropout are drawn as in a training of the cell; its schedule and warm-up are left out.

    Args:
        model: `ready.model`, or its distributed wrapper.
        rates: before they are scaled with the batch.
        parts: micro-batches of a step.

    Raises:
        DivergedError: when the loss is no longer finite.
        ValueError: when the stretches cannot be shared out.
    """
    steps = math.ceil(len(ready.data.train) / cell.recipe.batch_size)
    often, rest = divmod(len(rates), cell.recipe.epochs)
    if rest or often > steps:
        raise ValueError(
            f"{cell.title()}: no rate found, for a range test of {len(rates)} stretches does not fit into "
            f"{cell.recipe.epochs} epochs of {steps} steps; declare an LrSearch with fewer trials or more epochs"
        )
    recipe = replace(cell.recipe, schedule="constant", warmup=0.0, warmup_steps=0, milestones=(), validations=often)
    losses: list[float] = []
    for each in epochs(
        model,
        ready.data,
        recipe,
        lr=rates[0],
        augment=cell.images.augment,
        seed=cell.seed,
        view=ready.view,
        frozen=ready.frozen,
        parts=parts,
        rate=_by_step(recipe, rates, steps),
    ):
        losses.append(each.train_loss)
        yield each
        if exploded_at(losses) < len(losses):
            return


def _by_step(recipe: Recipe, rates: Sequence[float], steps: int) -> Callable[[int], float]:
    """The rate of each step, scaled with the batch where the recipe asks for it."""
    scaled = [rates_of(recipe, lr, steps).at(0, reductions=0) for lr in rates]
    stretches = [stretch(number, steps=steps, validations=recipe.validations) for number in range(1, len(rates) + 1)]
    found = {step: lr for lr, taken in zip(scaled, stretches, strict=True) for step in taken}
    return found.__getitem__
