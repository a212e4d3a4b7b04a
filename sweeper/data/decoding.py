"""Decodes images into a file of pixels, here or in processes of their own that do nothing else.

Which rows are wanted, and what is kept when all of this is killed, is the business of `building`. Threads would do
worse than nothing: Pillow holds the interpreter for half of what it does with a small JPEG (224 pixels, 4 cores of an
AMD EPYC: 2,900 images/s in one thread, 1,700 in four, 5,400 in four processes).
"""

import os
import pickle
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from PIL import Image

_SECONDS_HERE = 0.1
"""Images are decoded here for so long, to see how long the others would take."""
_SECONDS_WORTH = 0.8
"""What is decoded sooner than this is not worth the start of processes, which takes each core 0.3 s."""
_STRETCH = 16
"""Rows that a process decodes before it answers, at most."""
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
"""For glibc: memory that an image took is kept for the next. Else each takes it anew from the system, page by page,
which takes as long as the decoding (896 pixels: 11.4 against 6.7 ms)."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be decoded, and where it goes."""

    decode: Callable[[Path, str], np.ndarray]
    """A data set's."""
    root: Path
    images: Sequence[str]
    """Of all rows."""
    size: int
    path: Path
    """A file of uint8 (images, size, size, channels)."""
    first: int
    """Bytes that stand before them in it."""
    alone: bool
    """Whether this process decodes by itself: where images share a file, each process would unpack it anew."""


@dataclass(frozen=True, kw_only=True)
class Filled:
    """What became of a stretch of rows."""

    rows: range
    """Those that are in the file now."""
    error: Exception | None
    """Why the row after them is not."""


def fill(job: Job, rows: range) -> Filled:
    """Decodes rows into the file, up to the first that cannot be."""
    row = rows.start
    try:
        with job.path.open("r+b") as file:  # a memory map would end the process where the disk is full
            for row in rows:
                pixels = _resized(job.decode(job.root, job.images[row]), job.size)
                file.seek(job.first + row * len(pixels))
                file.write(pixels)
    except Exception as error:  # noqa: BLE001 (whoever builds raises it, when the rows before it are kept)
        return Filled(rows=range(rows.start, row), error=error)
    return Filled(rows=rows, error=None)


def fill_all(job: Job, rows: Sequence[int], keep: Callable[[range], None]) -> Generator[Filled, None, None]:
    """Decodes rows, in stretches and in their order: here, and where it takes long in a process on every core.

    Whoever ends it early waits for the stretches that are in work.

    Args:
        keep: is told of all rows that are in the file, in any order and from any thread.
    """
    packed = None if job.alone else _packed(job)
    began = time.monotonic()
    for place, row in enumerate(rows):
        spent = time.monotonic() - began
        expected = spent * (len(rows) - place) / max(place, 1)  # seconds, if the rest is decoded here too
        if packed is not None and spent > _SECONDS_HERE and expected > _SECONDS_WORTH:
            yield from _fill_apart(packed, rows[place:], keep)
            return
        filled = fill(job, range(row, row + 1))
        keep(filled.rows)
        yield filled


def _packed(job: Job) -> bytes | None:
    """The job as other processes can read it; None where its functions are a notebook's, a script's or nameless."""
    try:
        packed = pickle.dumps(job)
    except (pickle.PicklingError, AttributeError, TypeError):
        return None
    return None if b"__main__" in packed else packed


def _fill_apart(packed: bytes, rows: Sequence[int], keep: Callable[[range], None]) -> Iterator[Filled]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    free: SimpleQueue[_Decoder] = SimpleQueue()
    decoders = [_Decoder(packed) for _ in range(cores)]
    threads = ThreadPoolExecutor(cores)
    for each in decoders:
        free.put(each)

    def ask(stretch: range) -> Filled:
        decoder = free.get()
        try:
            filled = decoder.fill(stretch)
        finally:
            free.put(decoder)
        keep(filled.rows)
        return filled

    try:
        yield from threads.map(ask, _stretches(rows, min(_STRETCH, len(rows) // (4 * cores) + 1)))
    finally:
        threads.shutdown(cancel_futures=True)
        for each in decoders:
            each.end()


def _stretches(rows: Sequence[int], most: int) -> Iterator[range]:
    """The rows as ranges of at most so many."""
    first = 0
    for place in range(1, len(rows) + 1):
        if place == len(rows) or place - first == most or rows[place] != rows[place - 1] + 1:
            yield range(rows[first], rows[place - 1] + 1)
            first = place


def serve() -> None:
    """What a decoder process does: it reads a job, then stretches until there are no more, and answers each."""
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a decoder prints must not get between the answers
    try:
        job: Job = pickle.load(asked)
        while True:
            filled = fill(job, pickle.load(asked))
            if filled.error is not None:  # what it does not say itself is lost on the way out of a process
                filled.error.add_note("".join(traceback.format_exception(filled.error)))
            answers.write(pickle.dumps(filled))
    except (EOFError, BrokenPipeError):
        return  # nobody asks any more


class _Decoder:
    """A process that fills stretches, one at a time, and ends when nobody holds the other end of its pipe."""

    def __init__(self, packed: bytes) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"import {__name__} as decoding; decoding.serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_KEEP_MEMORY | os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # Ctrl-C is for the one who builds
        )
        self._packed = packed

    def fill(self, stretch: range) -> Filled:
        """Raises: RuntimeError: when the process has died."""
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answers is not None
        try:
            asked.write(self._packed)
            self._packed = b""
            pickle.dump(stretch, asked)
            asked.flush()
            return pickle.load(answers)
        except (EOFError, BrokenPipeError) as error:
            raise RuntimeError(
                f"a process that decodes images ended with code {self._process.wait()} at rows {stretch.start} to "
                f"{stretch.stop - 1}; was it killed for memory?"
            ) from error

    def end(self) -> None:
        self._process.communicate()  # closes the pipe and waits


def _resized(pixels: np.ndarray, size: int) -> bytes:
    channels = pixels.shape[2]
    image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    return image.resize((size, size), Image.Resampling.BILINEAR).tobytes()
