"""HAM10000: dermatoscopic images of seven kinds of pigmented skin lesion, with the lesion that each image shows.

There is no official split. The images are those of `isic2018` and `dermamnist`, and lie in `isic2019` as well: never
use two of these as source and target.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.data.dataset import make_index, unpacked
from sweeper.data.listed import first_there, listed_images, needed
from sweeper.data.tables import labels_of, read_table, refuse_missing, refuse_repeated

if TYPE_CHECKING:
    import pandas as pd

_CLASSES = ("nv", "mel", "bkl", "bcc", "akiec", "vasc", "df")
"""In the order of Peng et al. 2023, whose class weights count so."""
_TABLES = ("HAM10000_metadata.csv", "HAM10000_metadata.tab", "HAM10000_metadata")
_FOLDERS = ("HAM10000_images_part_1", "HAM10000_images_part_2", "HAM10000_images", "images", "jpgs", ".")
"""The last: the archives of images themselves hold no folder."""
_REMEDY = f"unpack the two image archives and {_TABLES[0]} of doi.org/10.7910/DVN/DBW86T there"


def _read(base: Path) -> "pd.DataFrame":
    path = needed([base / each for each in _TABLES], _REMEDY)
    table = read_table(path, ["lesion_id", "image_id", "dx"])
    refuse_repeated(table["image_id"], path)
    refuse_missing((_file(base, each) for each in table["image_id"]), path)
    labels = labels_of(table["dx"], {each: each for each in _CLASSES}, path)
    if (unknown := table["lesion_id"] == "").any():
        raise ValueError(f"table {path} tells no lesion of {unknown.sum()} images; fetch it again")
    return make_index(zip(table["image_id"], labels, table["lesion_id"], [None] * len(table), strict=True))


def _file(base: Path, image: str) -> Path:
    return first_there([unpacked(base / folder) / f"{image}.jpg" for folder in _FOLDERS])


HAM10000 = listed_images(
    name="ham10000",
    folders=("HAM10000", "ham10000", "HAM"),
    read=_read,
    file_of=_file,
    classes=_CLASSES,
    metric="auroc",
    channels=3,
    cite="Tschandl, Rosendahl and Kittler 2018, Scientific Data 5:180161",
    licence="CC BY-NC 4.0",
    remedy=_REMEDY,
    patients="the lesion, the table's column lesion_id",
    counts={"nv": 6705, "mel": 1113, "bkl": 1099, "bcc": 514, "akiec": 327, "vasc": 142, "df": 115},
    url="https://doi.org/10.7910/DVN/DBW86T",
)
