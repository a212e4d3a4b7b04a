"""The image sets a study can name, and the names of the augmentations.

The table is plain values; pandas, scikit-learn and torch are imported when images are read. `folds`, `cache` and
`loading` beside this file are for whoever reads them.
"""

from sweeper.data.breastmnist import BREASTMNIST
from sweeper.data.busi import BUSI
from sweeper.data.chest_xray import CHEST_XRAY
from sweeper.data.dataset import Dataset, task_of
from sweeper.data.digits import DIGITS, DIGITS_0_4, DIGITS_5_9
from sweeper.data.flower_photos import FLOWER_PHOTOS
from sweeper.data.folder import named_folder
from sweeper.data.medical_mnist import MEDICAL_MNIST_64
from sweeper.data.pneumoniamnist import PNEUMONIAMNIST
from sweeper.grid import nearest

__all__ = ["AUGMENT_NAMES", "DATASETS", "Dataset", "UnknownDatasetError", "task_of"]

AUGMENT_NAMES = ("none", "flip", "shift", "flip_shift")


class UnknownDatasetError(KeyError):
    """No image set has this name."""

    def __str__(self) -> str:
        return self.args[0]  # KeyError itself shows its message in quotes


class _Datasets(dict[str, Dataset]):
    """The table, which also answers `folder:PATH` for any path: whether it is there is seen when it is read."""

    def __missing__(self, name: str) -> Dataset:
        if name.startswith("folder:"):
            return named_folder(name)
        raise UnknownDatasetError(f"data set '{name}' is unknown; {nearest(name, [*self, 'folder:PATH'])}")

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and name.startswith("folder:"))


DATASETS = _Datasets(
    {
        each.name: each
        for each in (
            DIGITS,
            DIGITS_0_4,
            DIGITS_5_9,
            BREASTMNIST,
            PNEUMONIAMNIST,
            CHEST_XRAY,
            BUSI,
            FLOWER_PHOTOS,
            MEDICAL_MNIST_64,
        )
    }
)
