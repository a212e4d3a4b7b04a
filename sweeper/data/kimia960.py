"""KIMIA Path960: 960 patches of 20 histology slides, the slide being the class.

There is no official split. All 48 patches of a class come from one slide, so patients cannot be kept apart: the set
measures how well textures are told apart, not how well that carries over to another patient.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.data.dataset import is_hidden, make_index
from sweeper.data.listed import listed_images

if TYPE_CHECKING:
    import pandas as pd

_CLASSES = tuple("ABCDEFGHIJKLMNOPQRST")
_NAME = re.compile(r"([A-Z])\d+")
_SUFFIXES = (".tif", ".tiff")
_REMEDY = "unpack KIMIA Path960 of kimialab.uwaterloo.ca there"


def _read(base: Path) -> "pd.DataFrame":
    files = (each for each in base.iterdir() if each.suffix.lower() in _SUFFIXES and not is_hidden(each))
    names = sorted(each.name for each in files)
    if not names:
        raise ValueError(f"data set 'kimia960': {base} has no .tif image; {_REMEDY}")
    return make_index((name, _class_of(base / name), name, None) for name in names)


def _class_of(file: Path) -> str:
    found = _NAME.fullmatch(file.stem)
    if not found:
        raise ValueError(f"image {file} is not named by the letter of its class and a number, as A1.tif is")
    return found[1]


KIMIA960 = listed_images(
    name="kimia960",
    folders=("kimia_path_960", "KIMIA_Path_960", "KimiaPath960", "kimia960"),
    read=_read,
    classes=_CLASSES,
    metric="auroc_weighted",  # of Juodelyte et al. 2023, version 1
    channels=3,
    cite="Kumar et al. 2017, A comparative study of CNN, BoVW and LBP for classification of histopathological images, "
    "IEEE SSCI",
    licence="by the terms of kimialab.uwaterloo.ca; cite the paper",
    remedy=_REMEDY,
    patients="each image is its own patient: the patches of a class are of one slide, and cannot be kept apart",
    counts=dict.fromkeys(_CLASSES, 48),
    url="https://kimialab.uwaterloo.ca/kimia/index.php/pathology-images-kimia-path960/",
)
