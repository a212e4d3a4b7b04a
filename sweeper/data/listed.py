"""Image sets of files below one folder, whatever tells their labels: a table, the names, or files beside them.

One folder per class is `folder.py`'s. Labels are read in each set's own file; here only the files are found.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.data.dataset import Dataset, file_stamp, find

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def listed_images(
    *,
    name: str,
    folders: tuple[str, ...],
    remedy: str,
    read: Callable[[Path], "pd.DataFrame"],
    file_of: Callable[[Path, str], Path] = Path.joinpath,
    **facts: Any,
) -> Dataset:
    """A data set whose images are files below a folder of the site's data folder.

    Args:
        folders: where it may lie, relative to the data folder; the first that exists is taken.
        read: read(base) makes the index.
        file_of: file_of(base, image) is the image's file; below `base` by default.
        facts: the other fields of `Dataset`.
    """
    place = partial(place_of, name, folders, remedy)
    return Dataset(
        name=name,
        remedy=remedy,
        index=partial(_index, place, read),
        decode=partial(_decode, place, file_of, facts["channels"]),
        sources=partial(_sources, place, file_of),
        **facts,
    )


def place_of(name: str, folders: Sequence[str], remedy: str, root: Path) -> Path:
    """The folder that a set lies in.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when a file has its name.
    """
    found = find(name, [root / folder for folder in folders], remedy)
    if not found.is_dir():
        raise ValueError(f"data set '{name}': {found} is a file; it must be a folder; to get it: {remedy}")
    return found


def first_there(places: Sequence[Path]) -> Path:
    """The first of the places that exists, or where it should be when none does: the first."""
    return next((each for each in places if each.exists()), places[0])


def needed(places: Sequence[Path], remedy: str) -> Path:
    """The first of the places that exists.

    Raises:
        FileNotFoundError: when none does.
    """
    found = first_there(places)
    if not found.exists():
        looked = ", ".join(str(each) for each in places)
        raise FileNotFoundError(f"{looked} is not there; to get it: {remedy}")
    return found


def _index(place: Callable[[Path], Path], read: Callable[[Path], "pd.DataFrame"], root: Path) -> "pd.DataFrame":
    return read(place(root))


def _decode(
    place: Callable[[Path], Path], file_of: Callable[[Path, str], Path], channels: int, root: Path, image: str
) -> "np.ndarray":
    from sweeper.data.picture import decode_file

    return decode_file(file_of(place(root), image), channels)


def _sources(
    place: Callable[[Path], Path], file_of: Callable[[Path, str], Path], root: Path, images: Sequence[str]
) -> list[str]:
    base = place(root)
    return [file_stamp(file_of(base, image)) for image in images]
