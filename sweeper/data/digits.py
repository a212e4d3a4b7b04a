"""scikit-learn's handwritten digits, whole and as two halves: real images that need no download.

There is no official split, and writers are not known: each image is its own patient.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.data.dataset import Dataset, make_index

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_HIGHEST = 16
"""Pixels are counts from 0 to 16."""
_IMAGES = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
"""Of each digit in the test part of the original, which scikit-learn has."""


def _digits(name: str, wanted: range) -> Dataset:
    return Dataset(
        name=name,
        classes=tuple(str(digit) for digit in wanted),
        metric="accuracy",
        channels=1,
        cite="Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI; its test part",
        licence="CC BY 4.0",
        remedy="it comes with scikit-learn",
        index=partial(_index, wanted),
        decode=_decode,
        sources=_sources,
        patients="each image is its own patient: the writers are not told",
        counts={str(digit): _IMAGES[digit] for digit in wanted},
        url="https://archive.ics.uci.edu/dataset/80",
        packaged=True,
    )


def _index(wanted: range, root: Path) -> "pd.DataFrame":
    _, labels = _read()
    names = ((f"{number:04d}", str(label)) for number, label in enumerate(labels) if label in wanted)
    return make_index((image, label, image, None) for image, label in names)


def _decode(root: Path, image: str) -> "np.ndarray":
    import numpy as np

    counts = _read()[0][int(image)]  # (8, 8)
    return np.rint(counts * (255 / _HIGHEST)).astype(np.uint8)[:, :, None]


def _sources(root: Path, images: Sequence[str]) -> list[str]:
    return [f"scikit-learn {version('scikit-learn')}"]


@lru_cache(maxsize=1)
def _read() -> tuple["np.ndarray", "np.ndarray"]:
    """Counts (images, 8, 8) and labels (images,)."""
    import numpy as np
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return np.asarray(pixels).reshape(-1, 8, 8), np.asarray(labels)


DIGITS = _digits("digits", range(10))
DIGITS_0_4 = _digits("digits_0_4", range(5))
DIGITS_5_9 = _digits("digits_5_9", range(5, 10))
