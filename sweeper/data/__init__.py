"""The image sets a study can name, and the names of the augmentations.

The table is plain values; pandas, scikit-learn and torch are imported when images are read. `folds`, `cache` and
`loading` beside this file are for whoever reads them.
"""

from sweeper.data.any_table import named_table
from sweeper.data.aptos2019 import APTOS2019
from sweeper.data.augment_names import AUGMENT_NAMES, augment_problem
from sweeper.data.bimcv import BIMCV, BIMCV_CLEAN
from sweeper.data.busi import BUSI
from sweeper.data.busi3 import BUSI3
from sweeper.data.cbis_ddsm import CBIS_DDSM, CBIS_DDSM_CALC, CBIS_DDSM_MASS
from sweeper.data.chest_xray import CHEST_XRAY
from sweeper.data.chexpert import CHEXPERT
from sweeper.data.dataset import Dataset, task_of
from sweeper.data.ddsm import DDSM, DDSM3
from sweeper.data.ddti import DDTI, DDTI_GRADED
from sweeper.data.digits import DIGITS, DIGITS_0_4, DIGITS_5_9
from sweeper.data.flower_photos import FLOWER_PHOTOS
from sweeper.data.folder import named_folder
from sweeper.data.ham10000 import HAM10000
from sweeper.data.imagenet import IMAGENET
from sweeper.data.isic2018 import ISIC2018
from sweeper.data.isic2019 import ISIC2019
from sweeper.data.kimia960 import KIMIA960
from sweeper.data.knee import KNEE
from sweeper.data.medical_mnist import MEDICAL_MNIST_64
from sweeper.data.medmnist_sets import MEDMNIST
from sweeper.data.mrnet import MRNET, MRNET_ABNORMAL, MRNET_ACL, MRNET_MENISCUS
from sweeper.data.nih_chestxray14 import NIH_CHESTXRAY14
from sweeper.data.pcam import PCAM, PCAM_MIDDLE, PCAM_SMALL
from sweeper.data.radimagenet import RADIMAGENET
from sweeper.rules import nearest

__all__ = ["AUGMENT_NAMES", "DATASETS", "Dataset", "UnknownDatasetError", "augment_problem", "task_of"]

_NAMED = {"folder:": named_folder, "table:": named_table}
"""What a name that holds a path begins with, and what makes the set of it."""


class UnknownDatasetError(KeyError):
    """No image set has this name."""

    def __str__(self) -> str:
        return self.args[0]  # KeyError itself shows its message in quotes


class _Datasets(dict[str, Dataset]):
    """The table, which also answers `folder:PATH` and `table:PATH`: whether it is there is seen when it is read."""

    def __missing__(self, name: str) -> Dataset:
        for start, make in _NAMED.items():
            if name.startswith(start):
                return make(name)
        known = [*self, *(f"{start}PATH" for start in _NAMED)]
        raise UnknownDatasetError(f"data set '{name}' is unknown; {nearest(name, known)}")

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and name.startswith(tuple(_NAMED)))


DATASETS = _Datasets(
    {
        each.name: each
        for each in (
            DIGITS,
            DIGITS_0_4,
            DIGITS_5_9,
            CHEST_XRAY,
            BUSI,
            BUSI3,
            FLOWER_PHOTOS,
            MEDICAL_MNIST_64,
            ISIC2018,
            ISIC2019,
            HAM10000,
            APTOS2019,
            PCAM,
            PCAM_SMALL,
            PCAM_MIDDLE,
            DDTI,
            DDTI_GRADED,
            CBIS_DDSM,
            CBIS_DDSM_MASS,
            CBIS_DDSM_CALC,
            DDSM,
            DDSM3,
            MRNET,
            MRNET_ABNORMAL,
            MRNET_ACL,
            MRNET_MENISCUS,
            KNEE,
            KIMIA960,
            BIMCV,
            BIMCV_CLEAN,
            RADIMAGENET,
            IMAGENET,
            *CHEXPERT,
            NIH_CHESTXRAY14,
            *MEDMNIST,
        )
    }
)
