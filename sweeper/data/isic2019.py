"""ISIC 2019: dermatoscopic images of eight kinds of skin lesion, the training part of the challenge.

The table's ninth column UNK names no training image and is no class here. The images of `ham10000` are among these:
never use the two as source and target.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.data.dataset import make_index, unpacked
from sweeper.data.listed import first_there, listed_images, needed
from sweeper.data.tables import labels_of_columns, read_table, refuse_missing, refuse_repeated

if TYPE_CHECKING:
    import pandas as pd

_CLASSES = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC")
_FOLDERS = ("ISIC_2019_Training_Input", "train")
_TRUTH = "ISIC_2019_Training_GroundTruth.csv"
_METADATA = "ISIC_2019_Training_Metadata.csv"
_REMEDY = f"unpack {_FOLDERS[0]}.zip of challenge.isic-archive.com/data/#2019 there, with {_TRUTH} and {_METADATA}"


def _read(base: Path) -> "pd.DataFrame":
    path = needed([base / _TRUTH], _REMEDY)
    truth = read_table(path, ["image", *_CLASSES])
    refuse_repeated(truth["image"], path)
    refuse_missing((_file(base, each) for each in truth["image"]), path)
    labels = labels_of_columns(truth, _CLASSES, path)
    return make_index(zip(truth["image"], labels, _lesions(base, truth), [None] * len(truth), strict=True))


def _lesions(base: Path, truth: "pd.DataFrame") -> list[str]:
    """The lesion that each image shows; an image whose lesion the archive does not know is its own."""
    path = needed([base / _METADATA], _REMEDY)
    table = read_table(path, ["image", "lesion_id"])
    refuse_repeated(table["image"], path)
    lesion_of = dict(zip(table["image"], table["lesion_id"], strict=True))
    if missing := [each for each in truth["image"] if each not in lesion_of]:
        raise ValueError(f"table {path} lacks {len(missing)} images of {_TRUTH} (first: '{missing[0]}')")
    return [lesion_of[each] or each for each in truth["image"]]


def _file(base: Path, image: str) -> Path:
    return unpacked(first_there([base / folder for folder in _FOLDERS])) / f"{image}.jpg"


ISIC2019 = listed_images(
    name="isic2019",
    folders=("ISIC2019", "ISIC_2019", "isic2019"),
    read=_read,
    file_of=_file,
    classes=_CLASSES,
    metric="recall_macro",
    channels=3,
    cite="Codella et al. 2018, ISBI; Tschandl et al. 2018, Scientific Data 5:180161; "
    "Combalia et al. 2019, BCN20000, arXiv 1908.02288",
    licence="CC BY-NC 4.0",
    remedy=_REMEDY,
    patients=f"the lesion, column lesion_id of {_METADATA}; an image without one is its own",
    counts={
        "MEL": 4522, "NV": 12875, "BCC": 3323, "AK": 867, "BKL": 2624, "DF": 239, "VASC": 253, "SCC": 628,
    },
    url="https://challenge.isic-archive.com/data/#2019",
)  # fmt: skip
