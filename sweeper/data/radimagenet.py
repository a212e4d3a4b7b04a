"""RadImageNet: CT, MR and ultrasound images, a class being its folder below `radiology_ai`, as `MR/knee/acl`.

Ultrasound has no folder for the anatomy, as `US/aorta`. Where the three `RadiologyAI_{train,val,test}.csv` lie there,
they tell the official parts by their column `filename`; their column `label` is not read, because the folder tells
more. Without them every image of the folders is taken, without parts. Patients are told by neither. The classes are
those that are found: 165 in the complete archive.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.data.dataset import PARTS, is_hidden, make_index
from sweeper.data.listed import first_there, listed_images, needed
from sweeper.data.tables import read_table, refuse_missing

if TYPE_CHECKING:
    import pandas as pd

_ARCHIVE = "radiology_ai"
_REMEDY = f"ask for the archive at radimagenet.com, unpack it there, and put the RadiologyAI_*.csv beside {_ARCHIVE}"


def _read(base: Path) -> "pd.DataFrame":
    if not any(_table(base, part).exists() for part in PARTS):
        images = sorted(_images(_file(base, "")))
        if not images:
            raise ValueError(f"data set 'radimagenet': {_file(base, '')} has no .png image; {_REMEDY}")
        return make_index((image, image.rpartition("/")[0], image, None) for image in images)
    rows = []
    for part in PARTS:
        path = needed([_table(base, part)], _REMEDY)
        images = read_table(path, ["filename"])["filename"].str.removeprefix(f"{_ARCHIVE}/")
        refuse_missing((_file(base, image) for image in images), path)
        rows += [(image, image.rpartition("/")[0], image, part) for image in images]
    return make_index(rows)


def _images(folder: Path, above: str = "") -> Iterator[str]:
    """Paths below the first folder of all .png files."""
    for each in folder.iterdir():
        if is_hidden(each):
            continue
        if each.suffix.lower() == ".png":
            yield f"{above}{each.name}"
        elif each.is_dir():
            yield from _images(each, f"{above}{each.name}/")


def _table(base: Path, part: str) -> Path:
    return base / f"RadiologyAI_{part}.csv"


def _file(base: Path, image: str) -> Path:
    return first_there([base / _ARCHIVE, base]) / image


RADIMAGENET = listed_images(
    name="radimagenet",
    folders=("RadImageNet", "radimagenet", _ARCHIVE),
    read=_read,
    file_of=_file,
    classes=None,
    metric="accuracy",
    channels=1,
    cite="Mei et al. 2022, Radiology: Artificial Intelligence 4:e210315",
    licence="RadImageNet's research use agreement",
    remedy=_REMEDY,
    patients="each image is its own patient: the archive does not tell which of them show one person",
    url="https://www.radimagenet.com",
)
