"""The `.npz` files of MedMNIST: {train,val,test}_images and _labels in one file, official parts.

Multi-label and three-dimensional sets are not read. The checksum is not compared, so a file with the same images in
another order is taken as well; the fingerprint tells them apart.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from sweeper.data.dataset import PARTS, Dataset, file_stamp, find, make_index

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_REMEDY = (
    "fetch {name}.npz from doi.org/10.5281/zenodo.10519652, or run `python -m medmnist download` with the medmnist "
    "package installed"
)
_READING = Lock()
"""Threads that want the same array wait for the one that reads it: an array may fill much of the memory."""


def medmnist(*, name: str, classes: tuple[str, ...], **facts: Any) -> Dataset:
    """A set of MedMNIST; each image is its own patient, because the files do not tell patients.

    Args:
        classes: in the order of the official labels 0, 1, ...
        facts: the other fields of `Dataset`.
    """
    return Dataset(
        name=name,
        classes=classes,
        remedy=_REMEDY.format(name=name),
        index=partial(_index, name, classes),
        decode=partial(_decode, name, facts["channels"]),
        sources=partial(_sources, name),
        **facts,
    )


def _place(name: str, root: Path) -> Path:
    file = f"{name}.npz"
    places = [root / "medmnist" / file, root / file, Path.home() / ".medmnist" / file]
    return find(name, places, _REMEDY.format(name=name))


def _index(name: str, classes: tuple[str, ...], root: Path) -> "pd.DataFrame":
    path = _place(name, root)
    rows = []
    for part in PARTS:
        labels = _read(path, f"{part}_labels").reshape(-1)
        if labels.min() < 0 or labels.max() >= len(classes):
            raise ValueError(f"{path}: {part}_labels hold {labels.max()}; '{name}' has 0..{len(classes) - 1}")
        for number, label in enumerate(labels):
            image = f"{part}/{number:06d}"
            rows.append((image, classes[label], image, part))
    return make_index(rows)


def _decode(name: str, channels: int, root: Path, image: str) -> "np.ndarray":
    path = _place(name, root)
    part, number = image.split("/")
    with _READING:
        images = _images(path, part, file_stamp(path))  # (images, height, width[, 3])
    pixels = images[int(number)]
    return pixels.reshape(*pixels.shape[:2], channels)


def _sources(name: str, root: Path, images: Sequence[str]) -> list[str]:
    return [file_stamp(_place(name, root))]


@lru_cache(maxsize=1)
def _images(path: Path, part: str, stamp: str) -> "np.ndarray":
    """One part's images; `stamp` makes a file that was written again another entry."""
    return _read(path, f"{part}_images")


def _read(path: Path, array: str) -> "np.ndarray":
    import zipfile
    import zlib

    import numpy as np

    try:
        with np.load(path) as file:
            return file[array]
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: its array {array} cannot be read: {error}") from error
