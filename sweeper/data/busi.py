"""BUSI: breast ultrasound, malignant against the rest; images of no tumour count as benign (Juodelyte et al. 2023).

Masks are skipped. Patients are not told, so each image is its own. Never use it with `breastmnist` as source and
target: they show the same patients. `busi3` keeps the three classes.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.data.folder import image_folder, read_folder

if TYPE_CHECKING:
    import pandas as pd

_MASK = re.compile(r"_mask(_\d+)?$")
_LIKE_A_MASK = re.compile("ma?sk", re.IGNORECASE)


def is_image(file: Path) -> bool:
    """Whether it is an ultrasound image and not the mask of a tumour, of which an image may have several.

    Raises:
        ValueError: when the file is called nearly as a mask is: it could be either.
    """
    if _MASK.search(file.stem):
        return False
    if _LIKE_A_MASK.search(file.stem):
        raise ValueError(
            f"image {file} is called neither as an image of the archive, as benign (1).png, nor as a mask, as "
            "benign (1)_mask.png or benign (1)_mask_1.png; take it away, or call it so"
        )
    return True


def _read(base: Path, *, name: str) -> "pd.DataFrame":
    index = read_folder(base, name=name, classes=("benign", "malignant", "normal"), keep=is_image)
    return index.assign(label=index["label"].replace("normal", "benign"))


BUSI = image_folder(
    name="busi",
    folder="Dataset_BUSI_with_GT",
    classes=("benign", "malignant"),
    read=_read,
    metric="auroc",
    channels=1,
    cite="Al-Dhabyani et al. 2020, Dataset of breast ultrasound images, Data in Brief 28:104863",
    licence="CC BY 4.0 / CC0",
    remedy="unpack Dataset_BUSI.zip of scholar.cu.edu.eg/?q=afahmy/pages/dataset there",
    patients="each image is its own patient: the archive does not tell which of them show one person",
    counts={"benign": 570, "malignant": 210},
    url="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
)
