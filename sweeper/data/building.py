"""The pixels of an image set on their way into the cache: what is decoded stays, whatever kills the one who decodes.

Where an entry lies and when it is whole is `cache`'s business; who decodes, `decoding`'s.

Beside the unfinished pixels lie the rows' images with the stamps of their sources, and a log of the rows that are done,
which is written only after the pixels have reached the disk. A build that finds the same rows goes on; one that finds
others, because a file was replaced or removed since, takes over the rows whose image and stamp are the same.
"""

import hashlib
import os
import re
import shutil
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sweeper.data.dataset import Dataset
from sweeper.data.decoding import Job, fill_all
from sweeper.work import sync

PIXELS = "pixels.npy"
ROWS, LOG = "rows.parquet", "done.log"
"""What only an unfinished build needs."""
_SECONDS_BETWEEN_LOGS = 2.0
_HASHED_AT_ONCE = 2**26
_DONE = re.compile(r"(\d+) (\d+)\n")


def begin(work: Path, images: Sequence[str], stamps: Sequence[str], shape: tuple[int, int, int]) -> None:
    """Makes `work` the folder of an unfinished build of these rows, with all that an earlier one has of them.

    Args:
        stamps: of each image's source.
        shape: height, width and channels of a row.
    """
    rows = pd.DataFrame({"image": list(images), "stamp": list(stamps)}, dtype="str")
    former = work.with_name(f"{work.name}.former")
    if work.exists() and not _holds(work, rows):
        if (work / ROWS).exists():  # else it was killed before it had begun
            shutil.rmtree(former, ignore_errors=True)
            work.rename(former)
        shutil.rmtree(work, ignore_errors=True)
    if not work.exists():
        work.mkdir()
        np.lib.format.open_memmap(work / PIXELS, mode="w+", dtype=np.uint8, shape=(len(rows), *shape)).flush()
        rows.to_parquet(work / ROWS)
        for path in (work / PIXELS, work / ROWS, work):
            sync(path)
    if former.exists():
        _take_over(former, work, rows)
        shutil.rmtree(former)


def build(
    work: Path, dataset: Dataset, root: Path, images: Sequence[str], told: "hashlib._Hash", *, alone: bool
) -> str:
    """Decodes the rows that are not there yet; 64 hex digits of what `told` knows already and all pixels in order.

    Args:
        alone: whether this process decodes all of them by itself.

    Raises:
        ValueError: when an image cannot be decoded. The rows that could be stay.
    """
    pixels = np.load(work / PIXELS, mmap_mode="r")
    size, long = pixels.shape[1], pixels[0].nbytes
    job = Job(
        decode=dataset.decode, root=root, images=images, size=size, path=work / PIXELS, first=pixels.offset, alone=alone
    )
    flat, seen, log = pixels.reshape(-1), 0, _Log(work)
    filled = fill_all(job, np.flatnonzero(~_done(work)).tolist(), log.keep)
    try:
        for each in filled:
            log.write_now_and_then()
            if each.error is not None:
                raise each.error
            seen = _hash(told, flat, seen, each.rows.stop * long)  # all rows before it are there
    finally:
        filled.close()
        log.write()
    _hash(told, flat, seen, len(flat))
    return told.hexdigest()


class _Log:
    """The rows that are done."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._new: deque[range] = deque()
        self._written = time.monotonic()

    def keep(self, rows: range) -> None:
        """Notes rows that are done; any thread may."""
        self._new.append(rows)

    def write_now_and_then(self) -> None:
        if time.monotonic() - self._written > _SECONDS_BETWEEN_LOGS:
            self.write()

    def write(self) -> None:
        """Brings the pixels to the disk, and then the news that they are there."""
        new = [self._new.popleft() for _ in range(len(self._new))]  # what comes after them may miss the sync
        sync(self._work / PIXELS)
        with (self._work / LOG).open("a") as file:
            file.write("\n")  # ends a line that a power cut tore
            file.writelines(f"{rows.start} {rows.stop}\n" for rows in _joined(new))
            file.flush()
            os.fsync(file.fileno())
        self._written = time.monotonic()


def _holds(work: Path, rows: pd.DataFrame) -> bool:
    """Whether the unfinished build is one of exactly these rows."""
    path = work / ROWS
    return path.exists() and pd.read_parquet(path).equals(rows)


def _done(work: Path) -> np.ndarray:
    """Which rows are there, bool (rows,); a last line that a power cut tore counts for nothing."""
    done = np.zeros(len(np.load(work / PIXELS, mmap_mode="r")), dtype=bool)
    if (work / LOG).exists():
        for line in (work / LOG).read_text().splitlines(keepends=True):
            if found := _DONE.fullmatch(line):
                done[int(found[1]) : int(found[2])] = True
    return done


def _joined(rows: Iterable[range]) -> Iterator[range]:
    """The ranges with those made one that touch; empty ones are left out."""
    now = range(0)
    for each in filter(None, rows):
        if now and each.start == now.stop:
            now = range(now.start, each.stop)
            continue
        if now:
            yield now
        now = each
    if now:
        yield now


def _take_over(former: Path, work: Path, rows: pd.DataFrame) -> None:
    """Copies what another build of the same set has of these rows."""
    old = pd.read_parquet(former / ROWS)
    there = {
        (image, stamp): row
        for row, (image, stamp, done) in enumerate(zip(old["image"], old["stamp"], _done(former), strict=True))
        if done
    }
    before, now, log = np.load(former / PIXELS, mmap_mode="r"), np.load(work / PIXELS, mmap_mode="r"), _Log(work)
    with (work / PIXELS).open("r+b") as file:
        for row, key in enumerate(zip(rows["image"], rows["stamp"], strict=True)):
            if key in there:
                file.seek(now.offset + row * now[0].nbytes)
                file.write(before[there[key]].tobytes())
                log.keep(range(row, row + 1))
                log.write_now_and_then()
    log.write()


def _hash(told: "hashlib._Hash", pixels: np.ndarray, start: int, stop: int) -> int:
    for first in range(start, stop, _HASHED_AT_ONCE):
        told.update(pixels[first : min(first + _HASHED_AT_ONCE, stop)].data)
    return stop
