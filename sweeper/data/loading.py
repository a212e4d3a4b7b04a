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

HELD_BYTES = 2**31
"""What is kept on a device for the whole of a training takes at most this."""
_HELD_SHARE = 0.1
"""... and of a GPU's free memory at most this share."""
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
        """The images at these positions of the part, uint8 (n, 3, size, size), in memory as channels_last.

        Grey is repeated to three channels: every network sees three, so that a model has the same architecture and can
        take the same weights for every data set.
        """
        chosen = np.asarray(self.pixels)[self.rows[positions]]  # (n, size, size, channels)
        return torch.from_numpy(chosen).expand(-1, -1, -1, 3).contiguous().movedim(-1, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Held(Part):
    """A part whose images, or what a frozen network made of them, lie on a device."""

    inputs: torch.Tensor
    """uint8 (images, size, size, 3), or floats (images, features)."""

    def tensor(self, positions: np.ndarray) -> torch.Tensor:
        """The inputs at these positions on their device: uint8 (n, 3, size, size), or floats (n, features)."""
        where = move(torch.from_numpy(positions), self.inputs.device)
        return self.inputs.index_select(0, where).movedim(-1, 1)


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


def hold(part: Part, device: torch.device) -> Part:
    """The part with its images on the GPU where they take little of it; anywhere else the part as it is."""
    needed = len(part) * 3 * part.pixels[0, :, :, 0].size  # bytes
    if device.type != "cuda" or needed > min(HELD_BYTES, _HELD_SHARE * torch.cuda.mem_get_info(device)[0]):
        return part
    pixels = torch.from_numpy(np.asarray(part.pixels)[part.rows]).to(device)
    return Held(**vars(part), inputs=pixels.expand(-1, -1, -1, 3).contiguous())


def move(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on `device`; nobody waits for a copy to a GPU."""
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def normalise(images: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """(pixel / 255 - mean) / std per channel, float32 (n, 3, h, w), on the images' device.

    Args:
        images: uint8 (n, 3, h, w).
        mean: three numbers, of pixels in 0..1.
        std: three numbers, likewise.
    """
    centre, scale = _row(tuple(mean), tuple(std), images.shape[-1], images.device)
    return images.to(torch.float32, copy=True).sub_(centre).div_(scale)


@lru_cache(maxsize=64)
def _row(
    mean: tuple[float, ...], std: tuple[float, ...], width: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and std in units of 0..255, which saves a pass over the images, each (1, 3, 1, width).

    As long as a row of pixels: on three numbers at a time the processor is six times slower (64 pixels, AMD EPYC).
    """
    with torch.inference_mode(mode=False):  # they outlive the caller's mode
        rows = 255 * torch.tensor([mean, std], dtype=torch.float32, device=device)  # (2, 3)
        centre, scale = rows.view(2, 1, 1, 1, 3).repeat(1, 1, 1, width, 1).movedim(-1, 2)
        return centre, scale


def _keep(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return images


def _flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image mirrored left to right with probability 1/2."""
    rows = torch.arange(images.shape[-2]).expand(len(images), -1)
    return _pick(images, rows, _mirror(images, generator))


def _shift(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image moved by whole pixels, uniformly up to 1/8 of its size either way; the edge pixels fill the gap."""
    rows = _slide(images, -2, generator)
    return _pick(images, rows, _slide(images, -1, generator))


def _flip_shift(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    mirrored = _mirror(images, generator)
    rows = _slide(images, -2, generator)
    return _pick(images, rows, mirrored.gather(1, _slide(images, -1, generator)))


def _mirror(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """For each image and column the column that is seen there, (n, width): its own, or the opposite one."""
    columns = torch.arange(images.shape[-1])
    chosen = torch.rand(len(images), generator=generator) < 0.5  # (n,)
    return torch.where(chosen.view(-1, 1), columns.flip(0), columns)


def _slide(images: torch.Tensor, axis: int, generator: torch.Generator) -> torch.Tensor:
    """For each image and place along an axis the place that is seen there, (n, length)."""
    length = images.shape[axis]
    most = length // _SHIFT
    moved = torch.randint(2 * most + 1, (len(images), 1), generator=generator) - most
    return (torch.arange(length) + moved).clamp(0, length - 1)


def _pick(images: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Image i with pixel (rows[i, y], columns[i, x]) at (y, x), in memory as channels_last.

    Args:
        rows: int64 (n, height), on the CPU.
        columns: int64 (n, width), on the CPU.
    """
    number, channels, height, width = images.shape
    lines = torch.arange(number).view(-1, 1) * height + rows  # (n, height): as if all images were one below the other
    places = move(lines * width, images.device)[:, :, None] + move(columns, images.device)[:, None, :]
    pixels = images.movedim(1, -1).reshape(-1, channels).index_select(0, places.flatten())
    return pixels.view(number, height, width, channels).movedim(-1, 1)


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
