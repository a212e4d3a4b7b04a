"""Images decoded and resized once: a memory map of uint8 pixels that every process of every study reads.

Nothing that a cell can vary but the size is stored here. The cache folder may be deleted whole at any time; entries of
sources that have changed since are left lying until then.
"""

import hashlib
import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import PIL
from filelock import FileLock
from PIL import Image

from sweeper.cell import digest
from sweeper.data.dataset import COLUMNS, Dataset, Task, read_index, task_of
from sweeper.site import Site
from sweeper.work import sync

FORMAT = 1
"""Raise it whenever decoding, resizing or the files change, so that older entries are not read."""
_HASHED_AT_ONCE = 2**26


@dataclass(frozen=True, kw_only=True, eq=False)
class Cached:
    """A whole image set at one size."""

    pixels: np.memmap
    """uint8 (images, size, size, channels), read-only."""
    index: pd.DataFrame
    """`image` (sorted), `label`, `patient`, `part` (official, or missing), `target` (int64, 0..classes-1)."""
    classes: tuple[str, ...]
    task: Task
    fingerprint: str
    """16 hex digits of the pixels and the index: equal wherever the same images lie."""


def cached(dataset: Dataset, size: int, site: Site) -> Cached:
    """The set at size x size pixels, decoded now if its source is new or has changed since it was decoded last.

    Images are stretched to the square by Pillow's bilinear filter, which averages over the source pixels when it
    shrinks. Several processes may ask at once: one decodes, the others wait. An entry appears whole or not at all.

    Args:
        size: height and width in pixels, >= 1.

    Raises:
        FileNotFoundError: when the set is not there.
        ValueError: when its index is wrong or an image cannot be decoded, naming it.
    """
    index, classes = read_index(dataset, site.data)
    folder = _entry(dataset, index, classes, size, site)
    if not folder.is_dir():
        site.cache.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            if not folder.is_dir():
                _build(dataset, index, classes, size, site.data, folder)
    return _open(folder)


def fingerprint(dataset: Dataset, size: int, site: Site) -> str | None:
    """The fingerprint of the set as it lies there; None when it does not, or was not decoded since it changed."""
    try:
        index, classes = read_index(dataset, site.data)
    except FileNotFoundError:
        return None
    folder = _entry(dataset, index, classes, size, site)
    return _open(folder).fingerprint if folder.is_dir() else None


def _build(
    dataset: Dataset, index: pd.DataFrame, classes: tuple[str, ...], size: int, root: Path, folder: Path
) -> None:
    """Writes the entry beside its place and moves it there when it is whole; the caller holds its lock."""
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # what a killed process left: no other can be writing here now
    unfinished.mkdir()
    try:
        pixels = _decode_all(dataset, list(index["image"]), size, root, unfinished / "pixels.npy")
        index.to_parquet(unfinished / "index.parquet")
        meta = {"classes": classes, "fingerprint": _fingerprint(pixels, index)}
        (unfinished / "meta.json").write_text(json.dumps(meta))
        for path in (*unfinished.iterdir(), unfinished):
            sync(path)
        unfinished.rename(folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _entry(dataset: Dataset, index: pd.DataFrame, classes: tuple[str, ...], size: int, site: Site) -> Path:
    return site.cache / f"{_safe(dataset.name)}-{size}-{_stamp(dataset, index, classes, site.data)}"


def _decode_all(dataset: Dataset, images: list[str], size: int, root: Path, path: Path) -> np.memmap:
    """The images as a memory map at `path`; threads help, because Pillow lets go of the interpreter."""
    shape = (len(images), size, size, dataset.channels)
    pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)

    def fill(row: int) -> None:
        pixels[row] = _resized(dataset.decode(root, images[row]), size)

    with ThreadPoolExecutor() as threads:
        for _ in threads.map(fill, range(len(images))):
            pass  # asking for the result raises what the thread raised
    pixels.flush()
    return pixels


def _resized(pixels: np.ndarray, size: int) -> np.ndarray:
    channels = pixels.shape[2]
    image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)).reshape(size, size, channels)


@lru_cache(maxsize=8)
def _open(folder: Path) -> Cached:
    """An entry never changes under its name, so a process opens it once."""
    meta = json.loads((folder / "meta.json").read_text())
    return Cached(
        pixels=np.load(folder / "pixels.npy", mmap_mode="r"),
        index=pd.read_parquet(folder / "index.parquet"),
        classes=tuple(meta["classes"]),
        task=task_of(meta["classes"]),
        fingerprint=meta["fingerprint"],
    )


def _stamp(dataset: Dataset, index: pd.DataFrame, classes: tuple[str, ...], root: Path) -> str:
    """16 hex digits that change with the source, the index, the classes and the versions of the decoders."""
    sources = dataset.sources(root, list(index["image"]))
    return digest([FORMAT, PIL.__version__, dataset.name, dataset.channels, classes, _rows(index), sources])


def _fingerprint(pixels: np.ndarray, index: pd.DataFrame) -> str:
    found = hashlib.sha256(json.dumps([pixels.shape, _rows(index)]).encode())
    flat = pixels.reshape(-1)
    for start in range(0, len(flat), _HASHED_AT_ONCE):
        found.update(flat[start : start + _HASHED_AT_ONCE].data)
    return found.hexdigest()[:16]


def _rows(index: pd.DataFrame) -> list[list[str | None]]:
    """The content of the index as JSON can hold it: a missing part is None."""
    return index[list(COLUMNS)].astype(object).where(index[list(COLUMNS)].notna(), None).to_numpy().tolist()


def _safe(name: str) -> str:
    """A name that any file system takes; the stamp beside it holds the exact one."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name)[-60:]
