"""DDSM by the lists of Matsoukas et al. 2022: whole mammograms, abnormal against normal, or in the three classes.

`DDSM/ddsm_raw_image_lists/{train,val,test}.txt` name a file of `DDSM/ddsm_raw` a line; its class begins its name, as in
`cancer_15-B_3504_1.RIGHT_CC.LJPEG.1.jpg`. The patch mode of Matsoukas et al.'s code, which nothing reaches, is not
read. Never use it with `cbis_ddsm` as source and target: that is a selection of the same films.
"""

import re
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from sweeper.data.dataset import PARTS, Dataset, make_index
from sweeper.data.listed import listed_images, needed
from sweeper.data.tables import read_list, refuse_missing

if TYPE_CHECKING:
    import pandas as pd

_NAME = re.compile(r"(normal|benign|cancer)_\d+-([A-D]_\d+)_\d+\.")
_REMEDY = "unpack ddsm_raw.tar.gz and ddsm_raw_image_lists.tar.gz there"


def _ddsm(name: str, label_of: dict[str, str]) -> Dataset:
    return listed_images(
        name=name,
        folders=("DDSM", "ddsm"),
        read=partial(_read, label_of),
        file_of=_file,
        classes=tuple(dict.fromkeys(label_of.values())),
        metric="auroc",
        channels=1,
        cite="Heath et al. 2001, The Digital Database for Screening Mammography, IWDM; "
        "lists of Wu et al. 2018, DeepMiner, arXiv 1805.12323",
        licence="by the terms of the University of South Florida; cite the paper",
        remedy=_REMEDY,
        patients="the case of the file's name, as B_3504 of cancer_15-B_3504_1.RIGHT_CC.LJPEG.1.jpg",
        url="http://www.eng.usf.edu/cvprg/mammography/database.html",
    )


def _read(label_of: dict[str, str], base: Path) -> "pd.DataFrame":
    rows = []
    for part in PARTS:
        path = needed([base / "ddsm_raw_image_lists" / f"{part}.txt"], _REMEDY)
        images = read_list(path)
        refuse_missing((_file(base, each) for each in images), path)
        rows += [(image, label_of[kind], case, part) for image in images for kind, case in [_named(image, path)]]
    return make_index(rows)


def _named(image: str, path: Path) -> tuple[str, str]:
    """Class and case that an image's name tells."""
    found = _NAME.match(PurePosixPath(image).name)
    if not found:
        raise ValueError(f"list {path}: '{image}' is not named as cancer_15-B_3504_1.RIGHT_CC.LJPEG.1.jpg is")
    return found[1], found[2]


def _file(base: Path, image: str) -> Path:
    return base / "ddsm_raw" / image


DDSM = _ddsm("ddsm", {"normal": "normal", "benign": "abnormal", "cancer": "abnormal"})
DDSM3 = _ddsm("ddsm3", {"normal": "normal", "benign": "benign", "cancer": "cancer"})
