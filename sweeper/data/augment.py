"""Random changes of training images, and what validation images undergo: batched, on the images' device.

Which names and texts there are is `augment_names`' business. Changes are drawn here for each image, in the order of the
batch and from one generator on the CPU: `torchvision.transforms.v2` draws once per call, so a batch would be changed as
one. What is drawn depends on the seed, on the order of the images and on the batches, never on the number of processes.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import groupby

import torch

from sweeper.data.augment_colours import COLOURS
from sweeper.data.augment_draws import DRAWS, chosen
from sweeper.data.augment_names import SETS, Operation, parse
from sweeper.data.augment_pixels import mirrored, pick, slid
from sweeper.data.augment_places import Flip, placed

Augment = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
"""Images (n, 3, h, w), uint8 or float of 0..255, and a CPU generator -> changed images of the same shape and type."""
View = Callable[[torch.Tensor], torch.Tensor]
"""Images (n, 3, h, w), uint8 or float -> the same images as a network is to see them."""

_SHIFT = 8
"""An image is shifted by at most its size divided by this, rounded down."""
_UNUSED = torch.Generator()
"""For what draws nothing."""


def view_of(text: str) -> View | None:
    """What validation and test images undergo under an augmentation, by its name or text; None: nothing.

    Raises:
        ValueError: when the text is no augmentation.
    """
    operations = parse(text).view
    return partial(_changed, operations=operations, generator=_UNUSED) if operations else None


def _keep(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return images


def _flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image mirrored left to right with probability 1/2."""
    return placed(images, [Flip(chosen=chosen(len(images), 0.5, generator), axis=-1)])


def _shift(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image moved by whole pixels, uniformly up to 1/8 of its size either way; the edge pixels fill the gap."""
    rows = _slide(images, -2, generator)
    return pick(images, rows, _slide(images, -1, generator))


def _flip_shift(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    columns = _mirror(images, generator)
    rows = _slide(images, -2, generator)
    return pick(images, rows, columns.gather(1, _slide(images, -1, generator)))


def _mirror(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return mirrored(images.shape[-1], chosen(len(images), 0.5, generator))


def _slide(images: torch.Tensor, axis: int, generator: torch.Generator) -> torch.Tensor:
    length = images.shape[axis]
    most = length // _SHIFT
    return slid(length, torch.randint(2 * most + 1, (len(images), 1), generator=generator) - most)


def _changed(images: torch.Tensor, generator: torch.Generator, operations: Sequence[Operation]) -> torch.Tensor:
    """The images after the operations: colours one by one, what moves pixels as far as it can in one resampling."""
    given = images
    for moves, run in groupby(operations, key=lambda each: each.name in DRAWS):
        if moves:
            shape = (len(images), *images.shape[-2:])
            images = placed(images, [DRAWS[each.name](shape, generator, **each.settings) for each in run])
        else:
            for each in run:
                images = COLOURS[each.name](images, generator, own=images is not given, **each.settings)
    return images


@lru_cache(maxsize=64)
def _spelt_out(text: str) -> Augment:
    return partial(_changed, operations=parse(text).train)


class _Augments(dict[str, Augment]):
    """The table, which also answers any text in the language of `augment_names`."""

    def __missing__(self, text: str) -> Augment:
        return _spelt_out(text)


AUGMENTS: Mapping[str, Augment] = _Augments(
    {"none": _keep, "flip": _flip, "shift": _shift, "flip_shift": _flip_shift}
    | {name: _spelt_out(name) for name in SETS}
)
"""Name or text -> the random changes of training images, drawn for each image from the generator."""
