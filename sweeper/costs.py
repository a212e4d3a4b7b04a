"""How long a cell is expected to train, from cells that did: to start the longest first and to estimate device time.

Nothing is measured or stored here, and early stopping is not foreseen: an estimate counts every epoch of the recipe,
so under `patience` it is an upper bound.

The unit of work is one epoch over all training images of one pixel by the whole network: epochs x fraction x size^2 x
share of the blocks kept. A cell costs its work times the seconds per unit of the most similar observed cells: those
that agree with it in all of `_likeness`, else in ever fewer, from the end.
"""

import math
from typing import Any

from sweeper.cell import Cell

_BLOCKS = {"block": 5, "layer": 17}  # as ResNet-50 has; only a scale between depths that were never observed


class Costs:
    """Expected training times; each lookup takes a fixed number of steps, however much was observed."""

    def __init__(self) -> None:
        self._sums: dict[tuple[Any, ...], tuple[float, float]] = {}
        """The first n likenesses -> seconds and work of all that was observed of them; `()` is everything."""

    def observe(self, cell: Cell, seconds: float, epochs: int) -> None:
        """Learns that `cell` trained `epochs` epochs, >= 1, in `seconds`, finite and >= 0."""
        if not 0 <= seconds < math.inf or epochs < 1:
            raise ValueError(f"cell {cell.key}: {seconds} s for {epochs} epochs cannot have been measured")
        work = _work(cell, epochs)
        likeness = _likeness(cell)
        for kept in range(len(likeness) + 1):
            known = self._sums.get(likeness[:kept], (0.0, 0.0))
            self._sums[likeness[:kept]] = (known[0] + seconds, known[1] + work)

    def expected(self, cell: Cell, epochs: int | None = None) -> float | None:
        """Seconds that `epochs` epochs of a cell will take, None being the recipe's; None before any observation.

        Seconds per work is total seconds over total work, the mean in which a long run counts more than a short one:
        so the estimates of what was observed add up to what it took, as an estimate of device time must (a median
        would leave out the slow ones), and one slow start weighs little.
        """
        likeness = _likeness(cell)
        for kept in range(len(likeness), -1, -1):
            known = self._sums.get(likeness[:kept])
            if known is not None:
                return known[0] / known[1] * _work(cell, cell.recipe.epochs if epochs is None else epochs)
        return None

    def rank(self, cell: Cell) -> float:
        """A number that orders cells by expected time: `expected`, or before any observation the work."""
        expected = self.expected(cell)
        return _work(cell, cell.recipe.epochs) if expected is None else expected


def _likeness(cell: Cell) -> tuple[Any, ...]:
    """What makes two cells cost alike, the most telling first.

    Behind the model and the data set, whose number of images is not known here, come what `_work` scales by (depth,
    size, fraction), then what it does not know and what tells less. Depth is one likeness with the grain it counts in.
    """
    images, network, recipe = cell.images, cell.network, cell.recipe
    return (
        network.model,
        images.dataset,
        (network.grain, network.depth),
        network.slim,
        network.slim_factor,
        network.width,
        images.size,
        images.fraction,
        recipe.amp,
        recipe.frozen,
        recipe.head_epochs,
        recipe.validations,
        recipe.batch_size,
        images.augment,
    )


def _work(cell: Cell, epochs: int) -> float:
    """Image passes times pixels times the share of the blocks kept, > 0, up to the data set's number of images."""
    network, images = cell.network, cell.images
    share = 1.0 if network.depth is None else min(1.0, network.depth / _BLOCKS[network.grain])
    return epochs * images.fraction * images.size**2 * share
