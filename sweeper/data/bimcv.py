"""BIMCV-COVID19+ chest X-rays as Peng et al. 2023 cut them: tables of path and label for three parts, images in `crop`.

`bimcv` reads the tables with the noisy labels that the study's table 1 is about, `bimcv_clean` the others, each from
the first `<exp>` folder, sorted by name: the others hold the same images in other parts. The study has not released
these files; the layout is what its code reads, and what the labels 0 and 1 stand for is not told there.
"""

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.data.dataset import PARTS, Dataset, make_index
from sweeper.data.listed import listed_images, needed
from sweeper.data.tables import labels_of, read_table, refuse_missing

if TYPE_CHECKING:
    import pandas as pd

_CLASSES = ("0", "1")
_SUBJECT = re.compile(r"sub-S\d+")
_REMEDY = "put crop/ there, and noisy/<exp>/ and clean/<exp>/ with train.csv, val.csv and test.csv (path, label)"


def _bimcv(name: str, labels: str) -> Dataset:
    return listed_images(
        name=name,
        folders=("BIMCV", "bimcv"),
        read=partial(_read, labels),
        file_of=_file,
        classes=_CLASSES,
        metric="auprc",
        channels=1,
        cite="Vaya et al. 2020, BIMCV COVID-19+, arXiv 2006.01174; Peng et al. 2023, BMVC",
        licence="by the terms of bimcv.cipf.es",
        remedy=_REMEDY,
        patients="the subject in the path, as sub-S03044; an image without one is its own",
        url="https://bimcv.cipf.es/bimcv-projects/bimcv-covid19/",
    )


def _read(labels: str, base: Path) -> "pd.DataFrame":
    tables = sorted((base / labels).glob("*/train.csv"))
    folder = needed(tables or [base / labels / "1" / "train.csv"], _REMEDY).parent
    rows = []
    for part in PARTS:
        path = needed([folder / f"{part}.csv"], _REMEDY)
        table = read_table(path, ["path", "label"])
        refuse_missing((_file(base, image) for image in table["path"]), path)
        targets = labels_of(table["label"], {each: each for each in _CLASSES}, path)
        rows += [(image, label, _subject(image), part) for image, label in zip(table["path"], targets, strict=True)]
    return make_index(rows)


def _subject(image: str) -> str:
    found = _SUBJECT.search(image)
    return found[0] if found else image


def _file(base: Path, image: str) -> Path:
    return base / "crop" / image


BIMCV = _bimcv("bimcv", "noisy")
BIMCV_CLEAN = _bimcv("bimcv_clean", "clean")
