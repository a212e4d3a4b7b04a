"""APTOS 2019: fundus photographs graded 0..4 for diabetic retinopathy, the part of the competition that has grades.

There is no official split, and patients (two eyes each) are not told: each image is its own.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.data.dataset import make_index
from sweeper.data.listed import listed_images, needed
from sweeper.data.tables import labels_of, read_table, refuse_missing, refuse_repeated

if TYPE_CHECKING:
    import pandas as pd

_GRADES = ("0", "1", "2", "3", "4")
_REMEDY = "unpack aptos2019-blindness-detection.zip of the Kaggle competition of that name there"


def _read(base: Path) -> "pd.DataFrame":
    path = needed([base / "train.csv"], _REMEDY)
    table = read_table(path, ["id_code", "diagnosis"])
    refuse_repeated(table["id_code"], path)
    images = [f"train_images/{each}.png" for each in table["id_code"]]
    refuse_missing((base / each for each in images), path)
    labels = labels_of(table["diagnosis"], {each: each for each in _GRADES}, path)
    return make_index(zip(images, labels, images, [None] * len(images), strict=True))


APTOS2019 = listed_images(
    name="aptos2019",
    folders=("APTOS2019", "aptos2019", "aptos2019-blindness-detection"),
    read=_read,
    classes=_GRADES,
    metric="quadratic_kappa",
    channels=3,
    cite="Asia Pacific Tele-Ophthalmology Society 2019, APTOS 2019 Blindness Detection, Kaggle",
    licence="the rules of the Kaggle competition",
    remedy=_REMEDY,
    patients="each image is its own patient: the archive does not tell which two eyes are one person's",
    counts={"0": 1805, "1": 370, "2": 999, "3": 193, "4": 295},
    url="https://www.kaggle.com/competitions/aptos2019-blindness-detection",
)
