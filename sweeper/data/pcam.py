"""PatchCamelyon: 96 pixel patches of lymph node sections, tumour in the middle or not, read row by row from HDF5.

`pcam` has the official parts. `pcam_small` and `pcam_middle` are subsets of the three parts together, as Juodelyte et
al. 2023 draw them, without official split: pandas' `sample(n=10000, random_state=22)` and `sample(n=100000,
random_state=2)` of the rows of train, valid and test, one after the other, each in the order of its file. Juodelyte et
al. 2023 draw from a listing of exported files in the order of their disk, in which later parts had overwritten rows of
earlier ones; which rows they drew is therefore not known, only how many and how.
"""

import os
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.data.dataset import Dataset, file_stamp, make_index
from sweeper.data.listed import needed, place_of
from sweeper.data.tables import read_table

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_CLASSES = ("normal", "tumour")
_PARTS = {"train": "train", "valid": "val", "test": "test"}
"""What the files are called, and the parts' names here."""
_FOLDERS = ("pcam", "PCam", "patchcamelyon", "Camelyon")
_REMEDY = "unpack the six .h5.gz files of github.com/basveeling/pcam there, and its three _meta.csv files"
_CHUNKS_HELD = 2**26
"""Bytes of unpacked rows that are kept: neighbours share a chunk."""


def _pcam(name: str, subset: tuple[int, int] | None = None) -> Dataset:
    """Args: subset: how many rows of all parts together are drawn, and the seed."""
    place = partial(place_of, name, _FOLDERS, _REMEDY)
    return Dataset(
        name=name,
        classes=_CLASSES,
        metric="auroc",
        channels=3,
        cite="Veeling et al. 2018, MICCAI, arXiv 1806.03962; Bejnordi et al. 2017, JAMA 318:2199-2210",
        licence="CC0",
        remedy=_REMEDY,
        index=partial(_index, place, subset),
        decode=partial(_decode, place),
        sources=partial(_sources, place),
        patients="the slide, column wsi of the _meta.csv files; without those files each image is its own",
        url="https://github.com/basveeling/pcam",
    )


def _index(place: Any, subset: tuple[int, int] | None, root: Path) -> "pd.DataFrame":
    import pandas as pd

    base = place(root)
    told = [_meta(base, file).exists() for file in _PARTS]
    if any(told) and not all(told):
        raise ValueError(f"{base} holds some of the three _meta.csv files; it must hold all of them, or none")
    rows = pd.concat([_rows(base, file, slides=all(told)) for file in _PARTS], ignore_index=True)
    if subset:
        number, seed = subset
        if len(rows) < number:
            raise ValueError(f"{base} holds {len(rows)} patches; {number} are to be drawn; fetch the files again")
        rows = rows.sample(n=number, random_state=seed).assign(part=None)
    return make_index(rows.itertuples(index=False, name=None))


def _rows(base: Path, file: str, *, slides: bool) -> "pd.DataFrame":
    """The rows of one part in the file's order: image, label, patient, part."""
    import pandas as pd

    path, images = _path(base, file, "y"), _path(base, file, "x")
    labels = _read(path, "y")[...].reshape(-1)
    if len(labels) != (there := len(_read(images, "x"))):
        raise ValueError(f"{path} has {len(labels)} labels for the {there} images of {images.name}; fetch both again")
    if (labels > 1).any():
        raise ValueError(f"{path} holds the label {labels.max()}; it must be 0 or 1")
    names = [f"{_PARTS[file]}/{row:06d}" for row in range(len(labels))]
    patients = _slides(_meta(base, file), len(labels)) if slides else names
    kinds = [_CLASSES[each] for each in labels.tolist()]
    return pd.DataFrame({"image": names, "label": kinds, "patient": patients, "part": _PARTS[file]})


def _slides(path: Path, rows: int) -> list[str]:
    slides = list(read_table(path, ["wsi"])["wsi"])
    if len(slides) != rows:
        raise ValueError(f"table {path} has {len(slides)} rows for {rows} images; fetch it again")
    if "" in slides:
        raise ValueError(f"table {path} tells no slide in {slides.count('')} rows; fetch it again")
    return slides


def _decode(place: Any, root: Path, image: str) -> "np.ndarray":
    part, row = image.split("/")
    file = next(each for each in _PARTS if _PARTS[each] == part)
    return _read(_path(place(root), file, "x"), "x")[int(row)]


def _sources(place: Any, root: Path, images: Sequence[str]) -> list[str]:
    return [file_stamp(_path(place(root), file, "x")) for file in _PARTS]


def _path(base: Path, file: str, array: str) -> Path:
    return needed([base / f"camelyonpatch_level_2_split_{file}_{array}.h5"], _REMEDY)


def _meta(base: Path, file: str) -> Path:
    return base / f"camelyonpatch_level_2_split_{file}_meta.csv"


def _read(path: Path, array: str) -> Any:
    """The array in the file, of which only the rows that are asked for are read."""
    return _open(path, array, file_stamp(path), os.getpid())


@lru_cache(maxsize=6)
def _open(path: Path, array: str, stamp: str, process: int) -> Any:
    """Once for each content and process: a file opened before a fork must not be read after it."""
    import h5py

    try:
        return h5py.File(path, "r", rdcc_nbytes=_CHUNKS_HELD, locking="best-effort")[array]
    except (OSError, KeyError) as error:
        raise ValueError(f"{path}: its array {array} cannot be read: {error}; fetch it again") from error


PCAM = _pcam("pcam")
PCAM_SMALL = _pcam("pcam_small", (10_000, 22))
PCAM_MIDDLE = _pcam("pcam_middle", (100_000, 2))
