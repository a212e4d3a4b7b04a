"""The `.npz` files of MedMNIST: {train,val,test}_images and _labels in one file, official parts.

Images are read one by one, as `npz` says: a file of 224 pixels unpacks to 16 GB. Three-dimensional sets are not read.
The checksum is not compared, so a file with the same images in another order is taken as well; the fingerprint tells
them apart.
"""

import zipfile
import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from sweeper.data.dataset import PARTS, Dataset, file_stamp, find, make_index
from sweeper.data.labels import texts_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from sweeper.data.npz import Rows

_REMEDY = (
    "fetch {name}.npz from doi.org/10.5281/zenodo.10519652, or run `python -m medmnist download` with the medmnist "
    "package installed"
)
_DAMAGES = (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)
"""What a file that is damaged, or another file, makes numpy and zipfile raise."""
_READING = Lock()
"""One thread at a time unpacks: each leaves the unpacking where the next one goes on."""


def medmnist(*, name: str, classes: tuple[str, ...], size: int, **facts: Any) -> Dataset:
    """A set of MedMNIST; each image is its own patient, because the files do not tell patients.

    Args:
        classes: in the order of the official labels 0, 1, ..., or of the columns of a multi-label set.
        size: height and width of its images, in pixels.
        facts: the other fields of `Dataset`.
    """
    shape = (size, size, 3) if facts["channels"] == 3 else (size, size)
    return Dataset(
        name=name,
        classes=classes,
        remedy=_REMEDY.format(name=name),
        index=partial(_index, name, classes, shape, facts.get("task") == "multilabel"),
        decode=partial(_decode, name, shape),
        sources=partial(_sources, name),
        **facts,
    )


def _place(name: str, root: Path) -> Path:
    file = f"{name}.npz"
    places = [root / "medmnist" / file, root / file, Path.home() / ".medmnist" / file]
    return find(name, places, _REMEDY.format(name=name))


def _index(name: str, classes: tuple[str, ...], shape: tuple[int, ...], several: bool, root: Path) -> "pd.DataFrame":
    path = _place(name, root)
    rows = []
    for part in PARTS:
        labels = _read(path, f"{part}_labels")  # (images, 1), or (images, classes) of a multi-label set
        if len(labels) != (there := len(_images(path, part, shape))):
            raise ValueError(f"{path} has {len(labels)} {part}_labels for {there} {part}_images; fetch the file again")
        texts = (_several if several else _single)(path, f"{part}_labels", labels, name, classes)
        for number, text in enumerate(texts):
            image = f"{part}/{number:06d}"
            rows.append((image, text, image, part))
    return make_index(rows)


def _single(path: Path, array: str, labels: "np.ndarray", name: str, classes: tuple[str, ...]) -> Iterable[str]:
    labels = labels.reshape(-1)
    if labels.min() < 0 or labels.max() >= len(classes):
        raise ValueError(f"{path}: {array} hold {labels.max()}; '{name}' has 0..{len(classes) - 1}")
    return [classes[label] for label in labels]


def _several(path: Path, array: str, labels: "np.ndarray", name: str, classes: tuple[str, ...]) -> Iterable[str]:
    if labels.ndim != 2 or labels.shape[1] != len(classes):
        raise ValueError(f"{path}: {array} have shape {labels.shape}; '{name}' has {len(classes)} classes an image")
    if (wrong := (labels != 0) & (labels != 1)).any():
        raise ValueError(f"{path}: {array} hold {labels[wrong][0]}; of each class they must tell 0 or 1")
    return texts_of(labels.astype("int8"), classes)


def _decode(name: str, shape: tuple[int, ...], root: Path, image: str) -> "np.ndarray":
    path = _place(name, root)
    part, number = image.split("/")
    with _READING:
        images = _images(path, part, shape)
        try:
            pixels = images[int(number)]
        except (*_DAMAGES, IndexError) as error:
            raise ValueError(f"{path}: image {image} cannot be read: {_said(error)}; fetch the file again") from error
    return pixels.reshape(*shape[:2], -1)


def _sources(name: str, root: Path, images: Sequence[str]) -> list[str]:
    return [file_stamp(_place(name, root))]


def _images(path: Path, part: str, shape: tuple[int, ...]) -> "Rows":
    """One part's images, each of this shape."""
    try:
        images = _opened(path, part, file_stamp(path))
    except _DAMAGES as error:
        raise ValueError(
            f"{path}: its array {part}_images cannot be read: {_said(error)}; fetch the file again"
        ) from error
    if images.dtype != "uint8" or images.shape[1:] != shape:
        told = " x ".join(map(str, shape))
        raise ValueError(
            f"{path}: its array {part}_images is {images.dtype} {images.shape}; an image of it must be uint8 of "
            f"{told}; is it the file of another set or size? fetch the right one"
        )
    return images


@lru_cache(maxsize=len(PARTS))
def _opened(path: Path, part: str, stamp: str) -> "Rows":
    """`stamp` makes a file that was written again another entry."""
    from sweeper.data.npz import Rows

    return Rows(path, f"{part}_images")


def _read(path: Path, array: str) -> "np.ndarray":
    import numpy as np

    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no .npz file; fetch the file again")
    try:
        with np.load(path) as file:
            return file[array]
    except _DAMAGES as error:
        raise ValueError(f"{path}: its array {array} cannot be read: {_said(error)}; fetch the file again") from error


def _said(error: Exception) -> str:
    return error.args[0] if isinstance(error, KeyError) else f"{error}"  # which would show it in quotes
