"""A fake of every data set that has files of its own, for the tests of what befalls archives."""

from pathlib import Path

import pytest
from fakes import SAME_FILES, write_fake

from sweeper.data import DATASETS

OF_MEDMNIST = ("pathmnist", "chestmnist")
"""The others have their reader and their form."""
NAMES = sorted(
    name
    for name in DATASETS
    if name not in SAME_FILES
    and not name.startswith("digits")
    and ("mnist" not in name or name in (*OF_MEDMNIST, "medical_mnist_64"))
)
TEXTS = (".csv", ".txt", ".tab", ".xml")


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which each set has a data folder of its own."""
    root = tmp_path_factory.mktemp("fakes")
    for name in NAMES:
        write_fake(name, root / name)
    return root
