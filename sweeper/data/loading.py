"""A cell's images as tensors: its fold's parts, the random changes of training images, and normalisation.

Batches, epochs and the order of the images are the training loop's. Random changes are drawn here for each image:
`torchvision.transforms.v2` draws once per call, so a batch would be flipped or shifted as one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import numpy as np
import pandas as pd
import torch

from sweeper.cell import Images
from sweeper.data import DATASETS
from sweeper.data.cache import Cached, cached
from sweeper.data.dataset import Metric, Task
from sweeper.data.folds import split
from sweeper.site import Site

_SHIFT = 8
"""An image is shifted by at most its size divided by this, rounded down."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """The images of one part of a split, in the order of their names."""

    pixels: np.memmap
    """The whole set's, uint8 (all images, size, size, channels)."""
    rows: np.ndarray
    """int64 (images,): where this part's images are in `pixels`."""
    labels: np.ndarray
    """int64 (images,): 0..classes-1."""
    names: list[str]
    patients: list[str]

    def __len__(self) -> int:
        return len(self.rows)

    def tensor(self, positions: np.ndarray) -> torch.Tensor:
        """The images at these positions of the part, uint8 (n, 3, size, size).

        Grey is repeated to three channels: every network sees three, so that a model has the same architecture and can
        take the same weights for every data set.
        """
        chosen = np.asarray(self.pixels[self.rows[positions]])  # (n, size, size, channels)
        images = torch.from_numpy(chosen).permute(0, 3, 1, 2)
        return images.expand(-1, 3, -1, -1).contiguous()


@dataclass(frozen=True, kw_only=True, eq=False)
class Loaded:
    """A data set cut for one fold and fraction."""

    train: Part
    val: Part
    test: Part
    classes: tuple[str, ...]
    task: Task
    metric: Metric
    """The validation score that selects."""
    fingerprint: str
    """Of the whole set at this size, whatever the fold."""


def load(images: Images, site: Site) -> Loaded:
    """The parts that `images` names; the set is decoded first where it is not yet.

    Raises:
        KeyError: when no data set has this name.
        FileNotFoundError: when the set is not there.
        ValueError: when an image cannot be decoded or the set cannot be split so.
    """
    dataset = DATASETS[images.dataset]
    whole = cached(dataset, images.size, site)
    parts = _split(whole, images.fold, images.fraction, images.dataset)
    return Loaded(
        train=_part(whole, parts == "train"),
        val=_part(whole, parts == "val"),
        test=_part(whole, parts == "test"),
        classes=whole.classes,
        task=whole.task,
        metric=dataset.metric,
        fingerprint=whole.fingerprint,
    )


def normalise(images: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """(pixel / 255 - mean) / std per channel, float32 (n, 3, h, w), on the images' device.

    Args:
        images: uint8 (n, 3, h, w).
        mean: three numbers, of pixels in 0..1.
        std: three numbers, likewise.
    """
    # In units of 0..255, which saves one pass over the images.
    centre = 255 * torch.tensor(mean, dtype=torch.float32, device=images.device).view(1, 3, 1, 1)
    scale = 255 * torch.tensor(std, dtype=torch.float32, device=images.device).view(1, 3, 1, 1)
    return (images.to(torch.float32) - centre) / scale


def _keep(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return images


def _flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image mirrored left to right with probability 1/2."""
    chosen = torch.rand(len(images), generator=generator) < 0.5  # (n,)
    return torch.where(chosen.view(-1, 1, 1, 1).to(images.device), images.flip(-1), images)


def _shift(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image moved by whole pixels, uniformly up to 1/8 of its size either way; the edge pixels fill the gap."""
    height, width = images.shape[-2:]
    down, right = height // _SHIFT, width // _SHIFT
    rows = torch.arange(-down, height + down, device=images.device).clamp(0, height - 1)
    columns = torch.arange(-right, width + right, device=images.device).clamp(0, width - 1)
    padded = images.index_select(-2, rows).index_select(-1, columns)
    tops = torch.randint(2 * down + 1, (len(images),), generator=generator).tolist()
    lefts = torch.randint(2 * right + 1, (len(images),), generator=generator).tolist()
    cut = [
        image[:, top : top + height, left : left + width] for image, top, left in zip(padded, tops, lefts, strict=True)
    ]
    return torch.stack(cut)


def _flip_shift(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return _shift(_flip(images, generator), generator)


Augment = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
"""Images (n, 3, h, w), uint8 or float, and a CPU generator -> changed images of the same shape and type."""

AUGMENTS: Mapping[str, Augment] = MappingProxyType(
    {"none": _keep, "flip": _flip, "shift": _shift, "flip_shift": _flip_shift}
)
"""Name -> the random changes of training images, drawn for each image from the generator."""


@lru_cache(maxsize=64)
def _split(whole: Cached, fold: int, fraction: float, name: str) -> pd.Series:
    """`split`, once for each entry that this process holds open: cells of one study ask for the same few."""
    return split(whole.index, fold=fold, fraction=fraction, name=name)


def _part(whole: Cached, inside: pd.Series) -> Part:
    rows = np.flatnonzero(inside.to_numpy()).astype(np.int64)
    index = whole.index.iloc[rows]
    return Part(
        pixels=whole.pixels,
        rows=rows,
        labels=index["target"].to_numpy(dtype=np.int64),
        names=index["image"].tolist(),
        patients=index["patient"].tolist(),
    )
