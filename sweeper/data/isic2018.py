"""ISIC 2018, task 3: dermatoscopic images of seven kinds of skin lesion, the training part of the challenge.

The validation and test parts of the challenge are not read: no study uses them. The images are those of `ham10000` and
`dermamnist`, and lie in `isic2019` as well: never use two of these as source and target.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.data.dataset import make_index, unpacked
from sweeper.data.listed import first_there, listed_images, needed
from sweeper.data.tables import labels_of_columns, read_table, refuse_missing, refuse_repeated

if TYPE_CHECKING:
    import pandas as pd

_CLASSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
_IMAGES = "ISIC2018_Task3_Training_Input"
_TRUTH = "ISIC2018_Task3_Training_GroundTruth"
_LESIONS = "ISIC2018_Task3_Training_LesionGroupings.csv"
_REMEDY = f"unpack {_IMAGES}.zip and {_TRUTH}.zip of challenge.isic-archive.com/data/#2018 there, with {_LESIONS}"


def _read(base: Path) -> "pd.DataFrame":
    path = needed([base / _TRUTH / f"{_TRUTH}.csv", base / f"{_TRUTH}.csv"], _REMEDY)
    truth = read_table(path, ["image", *_CLASSES])
    refuse_repeated(truth["image"], path)
    images = [f"{_IMAGES}/{each}.jpg" for each in truth["image"]]
    refuse_missing((_file(base, each) for each in images), path)
    lesions = _lesions(base, truth["image"])
    labels = labels_of_columns(truth, _CLASSES, path)
    return make_index(zip(images, labels, lesions, [None] * len(images), strict=True))


def _lesions(base: Path, images: "pd.Series") -> list[str]:
    """The lesion that each image shows; the image itself where the table of lesions does not lie there."""
    path = first_there([base / _LESIONS, base / _TRUTH / _LESIONS])
    if not path.exists():
        return list(images)
    table = read_table(path, ["image", "lesion_id"])
    refuse_repeated(table["image"], path)
    lesion_of = dict(zip(table["image"], table["lesion_id"], strict=True))
    if missing := [each for each in images if not lesion_of.get(each)]:
        raise ValueError(f"table {path} tells no lesion of {len(missing)} images (first: '{missing[0]}')")
    return [lesion_of[each] for each in images]


def _file(base: Path, image: str) -> Path:
    return unpacked(base / _IMAGES) / image.removeprefix(f"{_IMAGES}/")


ISIC2018 = listed_images(
    name="isic2018",
    folders=("ISIC2018", "isic2018"),
    read=_read,
    file_of=_file,
    classes=_CLASSES,
    metric="auroc_weighted",  # of Juodelyte et al. 2023, version 1
    channels=3,
    cite="Codella et al. 2019, arXiv 1902.03368; Tschandl et al. 2018, Scientific Data 5:180161",
    licence="CC BY-NC 4.0",
    remedy=_REMEDY,
    patients=f"the lesion, from {_LESIONS}; without that file each image is its own",
    counts={"MEL": 1113, "NV": 6705, "BCC": 514, "AKIEC": 327, "BKL": 1099, "DF": 115, "VASC": 142},
    url="https://challenge.isic-archive.com/data/#2018",
)
