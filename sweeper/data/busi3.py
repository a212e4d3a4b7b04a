"""BUSI in its own three classes: breast ultrasound of no tumour, a benign and a malignant one.

`busi` is the same archive as Juodelyte et al. 2023 read it, in two classes. Masks are skipped.
"""

from functools import partial

from sweeper.data.busi import BUSI, is_image
from sweeper.data.folder import image_folder, read_folder

_CLASSES = ("normal", "benign", "malignant")

BUSI3 = image_folder(
    name="busi3",
    folder="Dataset_BUSI_with_GT",
    classes=_CLASSES,
    read=partial(read_folder, classes=_CLASSES, keep=is_image),
    metric="auroc",
    channels=1,
    cite=BUSI.cite,
    licence=BUSI.licence,
    remedy=BUSI.remedy,
    patients=BUSI.patients,
    counts={"normal": 133, "benign": 437, "malignant": 210},
    url=BUSI.url,
)
