"""Images decoded and resized once: a memory map of uint8 pixels that every process of every study reads.

Nothing that a cell can vary but the size is stored here. The cache folder may be deleted whole at any time; entries of
sources that have changed since are left lying until then.
"""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import PIL
from filelock import FileLock

from sweeper.cell import digest
from sweeper.data.building import LOG, PIXELS, ROWS, begin, build
from sweeper.data.dataset import COLUMNS, Dataset, Task, read_index, task_of
from sweeper.site import Site
from sweeper.work import sync

FORMAT = 1
"""Raise it whenever decoding, resizing or the files change, so that older entries are not read."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cached:
    """A whole image set at one size."""

    pixels: np.memmap
    """uint8 (images, size, size, channels), read-only."""
    index: pd.DataFrame
    """`image` (sorted), `label`, `patient`, `part` (official, or missing), `target` (int64, 0..classes-1); of a
    multi-label set `target_0`, `target_1`, ... in its place (int8: 1, 0, or -1 where it is not known)."""
    classes: tuple[str, ...]
    task: Task
    fingerprint: str
    """16 hex digits of the pixels and the index: equal wherever the same images lie."""


def cached(dataset: Dataset, size: int, site: Site) -> Cached:
    """The set at size x size pixels, decoded now if its source is new or has changed since it was decoded last.

    Images are stretched to the square by Pillow's bilinear filter, which averages over the source pixels when it
    shrinks. An entry appears whole or not at all. What was decoded stays when the one who decodes is killed, or finds
    an image that cannot be decoded: the next one goes on, and decodes again only what was replaced in between.

    Several processes may ask at once, on several machines too: one decodes, the others wait. That takes a file system
    whose `flock` is known to all of them, as NFS is from version 4 on, and Lustre mounted with `flock`; where locks
    stay on one machine (`nolock`, `local_lock`, `localflock`), give each machine a cache of its own.

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
        work = _work(dataset, size, site)
        with FileLock(work.with_suffix(".lock")):
            if not _is_there(folder):
                _build(dataset, index, classes, size, site.data, work, folder)
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
    dataset: Dataset, index: pd.DataFrame, classes: tuple[str, ...], size: int, root: Path, work: Path, folder: Path
) -> None:
    """Writes the entry beside its place and moves it there when it is whole; the caller holds its lock."""
    images = list(index["image"])
    sources = dataset.sources(root, images)
    alone = len(sources) != len(images)  # several images lie in one file, which any of them needs whole
    shape = (size, size, dataset.channels)
    begin(work, images, [digest(sources)] * len(images) if alone else sources, shape)
    told = hashlib.sha256(json.dumps([(len(images), *shape), _rows(index)]).encode())
    meta = {"classes": classes, "fingerprint": build(work, dataset, root, images, told, alone=alone)[:16]}
    meta |= {"task": dataset.task} if dataset.task else {}
    index.to_parquet(work / "index.parquet")
    (work / "meta.json").write_text(json.dumps(meta))
    for path in (work / "index.parquet", work / "meta.json", work):
        sync(path)
    work.rename(folder)
    sync(folder.parent)
    for name in (ROWS, LOG):
        (folder / name).unlink()


def _entry(dataset: Dataset, index: pd.DataFrame, classes: tuple[str, ...], size: int, site: Site) -> Path:
    return site.cache / f"{_safe(dataset.name)}-{size}-{_stamp(dataset, index, classes, site.data)}"


def _work(dataset: Dataset, size: int, site: Site) -> Path:
    """Where entries of a set at a size are built, one at a time; pixels that lie there were made as they are now."""
    made = digest([FORMAT, PIL.__version__, dataset.name, dataset.channels])
    return site.cache / f"{_safe(dataset.name)}-{size}-{made}.unfinished"


def _is_there(folder: Path) -> bool:
    """As the file system lists it now: NFS may remember for a minute that a name was not there."""
    return folder.name in os.listdir(folder.parent)


@lru_cache(maxsize=8)
def _open(folder: Path) -> Cached:
    """An entry never changes under its name, so a process opens it once."""
    meta = json.loads((folder / "meta.json").read_text())
    return Cached(
        pixels=np.load(folder / PIXELS, mmap_mode="r"),
        index=pd.read_parquet(folder / "index.parquet"),
        classes=tuple(meta["classes"]),
        task=task_of(meta["classes"], meta.get("task")),
        fingerprint=meta["fingerprint"],
    )


def _stamp(dataset: Dataset, index: pd.DataFrame, classes: tuple[str, ...], root: Path) -> str:
    """16 hex digits that change with the source, the index, the classes and the versions of the decoders."""
    sources = dataset.sources(root, list(index["image"]))
    known = [FORMAT, PIL.__version__, dataset.name, dataset.channels, classes, _rows(index), sources]
    return digest(known + ([dataset.task] if dataset.task else []))


def _rows(index: pd.DataFrame) -> list[list[str | None]]:
    """The content of the index as JSON can hold it: a missing part is None."""
    return index[list(COLUMNS)].astype(object).where(index[list(COLUMNS)].notna(), None).to_numpy().tolist()


def _safe(name: str) -> str:
    """A name that any file system takes; the stamp beside it holds the exact one."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name)[-60:]
