"""A cell's images as tensors: its fold's parts as a network is to see them, and normalisation.

Batches, epochs and the order of the images are the training loop's; random changes of training images are drawn in
`augment`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import pandas as pd
import torch

from sweeper.cell import Images
from sweeper.data import DATASETS
from sweeper.data.augment import AUGMENTS, View, view_of
from sweeper.data.cache import Cached, cached
from sweeper.data.dataset import Metric, Task, target_columns
from sweeper.data.kept_splits import files_read, parts_of
from sweeper.data.memory import empty, empty_images
from sweeper.data.moving import move
from sweeper.site import Site

__all__ = ["AUGMENTS", "HELD_BYTES", "Held", "Loaded", "Part", "cut_short", "hold", "load", "move", "normalise"]

_AT_ONCE = 8
"""Images that a CPU normalises at once: more do not stay near it (224 pixels, AMD EPYC)."""
HELD_BYTES = 2**31
"""What is kept on a device for the whole of a training takes at most this."""
_HELD_SHARE = 0.1
"""... and of a GPU's free memory at most this share."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """The images of one part of a split, in the order of their names."""

    pixels: np.memmap
    """The whole set's, uint8 (all images, size, size, channels)."""
    rows: np.ndarray
    """int64 (images,): where this part's images are in `pixels`."""
    labels: np.ndarray
    """int64 (images,): 0..classes-1; of a multi-label set float32 (images, classes): 1, 0, or NaN where not known."""
    names: list[str]
    patients: list[str]

    def __len__(self) -> int:
        return len(self.rows)

    def tensor(self, positions: np.ndarray) -> torch.Tensor:
        """The images at these positions of the part, uint8 (n, 3, size, size), in memory as channels_last.

        Grey is repeated to three channels: every network sees three, so that a model has the same architecture and can
        take the same weights for every data set.
        """
        rows, (_, *shape) = self.rows[positions], self.pixels.shape
        chosen = empty((len(rows), *shape), torch.uint8)  # (n, size, size, channels)
        np.take(self.pixels, rows, axis=0, out=chosen.numpy(), mode="clip")  # any other mode takes memory of its own
        if shape[-1] != 3:
            chosen = empty((*chosen.shape[:3], 3), torch.uint8).copy_(chosen)
        return chosen.movedim(-1, 1)


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
class Viewed(Part):
    """A part whose images are shown as the cell's augmentation has validation images: cropped, say."""

    view: View

    def tensor(self, positions: np.ndarray) -> torch.Tensor:
        """As `Part.tensor`, after the view."""
        return self.view(super().tensor(positions))


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
    split_files: Mapping[str, str] = field(default_factory=dict)
    """As `split_files.digests_of` makes it: of the files that say which images a part has, if files do."""


def load(images: Images, site: Site, *, look: bool = True) -> Loaded:
    """The parts that `images` names; the set is decoded first where it is not yet.

    The training part shows whole images, whose random changes are the training loop's to ask for; the others show what
    the augmentation has validation images undergo.

    Args:
        look: whether changes of the set's files are looked for though this process did so before, which takes 100,000
            of them 5 s. Without, they are the images that it found then, and have their fingerprint.

    Raises:
        KeyError: when no data set has this name.
        FileNotFoundError: when the set is not there.
        ValueError: when an image cannot be decoded, the set cannot be split so, or the augmentation is none.
    """
    whole = _look(images.dataset, images.size, site) if look else _found(images.dataset, images.size, site)
    parts = parts_of(whole, images, site)
    view = view_of(images.augment)
    return Loaded(
        train=_part(whole, parts == "train"),
        val=_shown(_part(whole, parts == "val"), view),
        test=_shown(_part(whole, parts == "test"), view),
        classes=whole.classes,
        task=whole.task,
        metric=DATASETS[images.dataset].metric,
        fingerprint=whole.fingerprint,
        split_files=files_read(whole, images, site),
    )


def cut_short(data: Loaded, images: int) -> Loaded:
    """The data with at most so many images in each part, evenly spaced: of use to measure times, never to score."""
    return replace(data, train=_some(data.train, images), val=_some(data.val, images), test=_some(data.test, images))


def hold(part: Part, device: torch.device) -> Part:
    """The part with its images on the GPU where they take little of it; anywhere else the part as it is."""
    needed = len(part) * 3 * part.pixels[0, :, :, 0].size  # bytes
    if device.type != "cuda" or needed > min(HELD_BYTES, _HELD_SHARE * torch.cuda.mem_get_info(device)[0]):
        return part
    pixels = torch.from_numpy(np.asarray(part.pixels)[part.rows]).to(device)
    return Held(**vars(part), inputs=pixels.expand(-1, -1, -1, 3).contiguous())


def normalise(images: torch.Tensor, mean: Sequence[float], std: Sequence[float], order: str = "rgb") -> torch.Tensor:
    """(pixel / 255 - mean) / std per channel, float32 (n, 3, h, w), on the images' device.

    Args:
        images: uint8 (n, 3, h, w), red first.
        mean: three numbers, of pixels in 0..1, in the order of the result's channels.
        std: three numbers, likewise.
        order: of the result's channels, `rgb` or `bgr`.
    """
    if order == "bgr":
        images = images.flip(1)
    centre, scale = _row(tuple(mean), tuple(std), images.shape[-1], images.device)
    if images.device.type != "cpu":
        return images.to(torch.float32, copy=True).sub_(centre).div_(scale)
    found = _floats_like(images)
    for some, shown in zip(found.split(_AT_ONCE), images.split(_AT_ONCE), strict=True):
        some.copy_(shown).sub_(centre).div_(scale)
    return found


def _floats_like(images: torch.Tensor) -> torch.Tensor:
    """float32 of the same shape and layout, not filled."""
    if images.is_contiguous(memory_format=torch.channels_last):
        return empty_images(images, torch.float32)
    return torch.empty_like(images, dtype=torch.float32)


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


def _look(dataset: str, size: int, site: Site) -> Cached:
    return cached(DATASETS[dataset], size, site)


_found = lru_cache(maxsize=8)(_look)


def _shown(part: Part, view: View | None) -> Part:
    return part if view is None else Viewed(**vars(part), view=view)


def _some(part: Part, images: int) -> Part:
    chosen = np.unique(np.linspace(0, len(part) - 1, min(images, len(part))).round().astype(np.int64))
    return replace(
        part,
        rows=part.rows[chosen],
        labels=part.labels[chosen],
        names=[part.names[each] for each in chosen],
        patients=[part.patients[each] for each in chosen],
    )


def _part(whole: Cached, inside: pd.Series) -> Part:
    rows = np.flatnonzero(inside.to_numpy()).astype(np.int64)
    index = whole.index.iloc[rows]
    return Part(
        pixels=whole.pixels,
        rows=rows,
        labels=_labels(whole, index),
        names=index["image"].tolist(),
        patients=index["patient"].tolist(),
    )


def _labels(whole: Cached, index: pd.DataFrame) -> np.ndarray:
    if whole.task != "multilabel":
        return index["target"].to_numpy(dtype=np.int64)
    known = index[target_columns(whole.classes)].to_numpy()  # (images, classes)
    return np.where(known < 0, np.float32(np.nan), known.astype(np.float32))
