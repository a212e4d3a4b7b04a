"""Looks at every image of a set once: whether it can be read, how its file stores it, and what its pixels are.

What of that is a fault is `verifying`'s to say. Of the pixels only small grey ones are kept, in a file: an image leaves
a row of a few hundred bytes in memory.
"""

import hashlib
import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from PIL import Image

from sweeper.data import leakage
from sweeper.data.dataset import Dataset
from sweeper.data.dicom import DICOM_SUFFIXES
from sweeper.data.folder import SUFFIXES
from sweeper.data.picture import decode_file
from sweeper.live import shown
from sweeper.orphan import die_with_parent

_ENOUGH_HERE = 256
"""Images that are decoded sooner than processes start."""
_STRETCH = 32
"""Images that a process looks at before it answers."""
_ROWS_AT_ONCE = 4096
SIDE = leakage.SIDE
_GREY_MODES = ("1", "L", "I", "F")
"""First letters of Pillow's modes without colour."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What one image showed; an image that cannot be read has an error and nothing else."""

    error: str = ""
    height: int = 0
    """Of the decoded image, in pixels."""
    width: int = 0
    mode: str = ""
    """How its file stores it: Pillow's mode, or what a DICOM file names; "" where it has no file of its own."""
    spread: int = 0
    """Largest difference, 0..255, between the channels of a pixel, before colour is made grey."""
    constant: bool = False
    """Whether all pixels are equal."""
    digest: str = ""
    """Hex digits of the sha256 of shape and decoded pixels: 32, the first half."""
    small: bytes = b""
    """The image in grey, stretched to `SIDE` x `SIDE` pixels."""


def look_at_all(dataset: Dataset, root: Path, index: pd.DataFrame, small: BinaryIO) -> pd.DataFrame:
    """The index with a column for each field of `Look` but `small`, which is written to a file, one after the other.

    Images are decoded on every core, but by this process alone where several lie in one file, which each process would
    unpack anew.
    """
    images = list(index["image"])
    alone = len(images) <= _ENOUGH_HERE or len(dataset.sources(root, images)) != len(images)
    seen = _look_here(dataset, root, images) if alone else _look_apart(dataset, root, images)
    with shown({f"reading {dataset.name}": len(images)}) as (progress,):
        frames = []
        while rows := list(islice(seen, _ROWS_AT_ONCE)):
            frames.append(pd.DataFrame(rows).drop(columns="small"))
            for row in rows:
                small.write(row.small)
                progress.started()
                progress.ended(failed=bool(row.error))
    return pd.concat([index.reset_index(drop=True), pd.concat(frames, ignore_index=True)], axis=1)


def look_at(dataset: Dataset, root: Path, image: str) -> Look:
    """What an image of a set shows."""
    _watch_opened_files()
    _OPENED.clear()
    try:
        pixels = dataset.decode(root, image)  # (height, width, channels)
        mode, spread = _stored(pixels, _OPENED[0] if _OPENED else None)
    except Exception as error:  # noqa: BLE001 (whatever it is: whether this image can be read is what is asked)
        return Look(error=f"{error}".strip().split("\n")[0] or type(error).__name__)
    return Look(
        height=pixels.shape[0],
        width=pixels.shape[1],
        mode=mode,
        spread=spread,
        constant=bool((pixels == pixels[0, 0]).all()),
        digest=hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()[:32],
        small=as_picture(pixels).convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR).tobytes(),
    )


def as_picture(pixels: np.ndarray) -> Image.Image:
    """Decoded pixels as a picture of mode L or RGB."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _look_here(dataset: Dataset, root: Path, images: Sequence[str]) -> Iterator[Look]:
    return (look_at(dataset, root, image) for image in images)


def _look_apart(dataset: Dataset, root: Path, images: Sequence[str]) -> Iterator[Look]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores, mp_context=context, initializer=die_with_parent) as pool:
        yield from pool.map(partial(look_at, dataset, root), images, chunksize=_STRETCH)


def _stored(pixels: np.ndarray, file: Path | None) -> tuple[str, int]:
    """Mode and spread of an image of which the pixels were decoded, from its file where there is one."""
    mode = _mode(file) if file else ""
    is_grey = mode.startswith((*_GREY_MODES, "DICOM MONOCHROME"))
    if pixels.shape[2] == 1 and file and not is_grey:
        pixels = decode_file(file, 3)
    red, *others = np.moveaxis(pixels, 2, 0)
    high, low = red, red
    for other in others:
        high, low = np.maximum(high, other), np.minimum(low, other)
    return mode, int((high - low).max())


def _mode(file: Path) -> str:
    if file.suffix.lower() not in DICOM_SUFFIXES:
        with Image.open(file) as image:
            return image.mode
    from pydicom import dcmread

    dicom = dcmread(file, stop_before_pixels=True)
    return f"DICOM {dicom.PhotometricInterpretation} {dicom.BitsStored} bits"


_OPENED: deque[Path] = deque(maxlen=1)
"""The picture file that was opened last in this process: a data set tells what an image's pixels are, not its file."""


@cache
def _watch_opened_files() -> None:
    sys.addaudithook(_note_opened_file)  # Python takes it back only at the end of the process


def _note_opened_file(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not isinstance(path := arguments[0], str | Path):
        return
    if str(path).lower().endswith((*SUFFIXES, *DICOM_SUFFIXES)):
        _OPENED.append(Path(path))
