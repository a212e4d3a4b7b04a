"""The knee slices of Juodelyte et al. 2023: sagittal slices of MRNet, selected for the ligament or for the meniscus.

`images/acl` and `images/meniscus` hold `<exam>_sagittal_*.png`. A slice selected for a structure has that structure's
class where the exam's table says it is torn, and is `normal` otherwise. Juodelyte et al. 2023 label the meniscus of the
official validation exams by their `abnormal` table; here it is the meniscus table, so some labels differ. Official
parts are pooled, as there. `mrnet` reads the whole volumes: never use the two as source and target.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.data.dataset import make_index
from sweeper.data.listed import listed_images, needed
from sweeper.data.tables import labels_of, read_table, refuse_repeated

if TYPE_CHECKING:
    import pandas as pd

_STRUCTURES = ("acl", "meniscus")
_REMEDY = "put images/acl, images/meniscus and the tables train- and valid-{acl,meniscus}.csv of MRNet there"


def _read(base: Path) -> "pd.DataFrame":
    rows = []
    for structure in _STRUCTURES:
        torn = _exams(base, structure)
        for file in sorted(needed([base / "images" / structure], _REMEDY).glob("[!.]*.png")):
            exam, _, rest = file.name.partition("_")
            if not rest.startswith("sagittal_") or exam not in torn:
                raise ValueError(f"image {file} does not name an exam of the {structure} tables as 0001_sagittal_1.png")
            label = structure if torn[exam] == "1" else "normal"
            rows.append((file.relative_to(base).as_posix(), label, exam, None))
    return make_index(rows)


def _exams(base: Path, structure: str) -> dict[str, str]:
    """Exam -> "1" where the structure is torn, else "0"."""
    found: dict[str, str] = {}
    for part in ("train", "valid"):
        path = needed([base / f"{part}-{structure}.csv"], _REMEDY)
        table = read_table(path, ["exam", "torn"], header=False)
        refuse_repeated(table["exam"], path)
        found |= dict(zip(table["exam"], labels_of(table["torn"], {"0": "0", "1": "1"}, path), strict=True))
    return found


KNEE = listed_images(
    name="knee",
    folders=("knee",),
    read=_read,
    classes=("normal", *_STRUCTURES),
    metric="auroc_weighted",  # of Juodelyte et al. 2023, version 1
    channels=1,
    cite="Bien et al. 2018, PLoS Medicine 15:e1002699; slices of Mei et al. 2022, Radiology: AI 4:e210315",
    licence="Stanford University dataset research use agreement",
    remedy=_REMEDY,
    patients="the exam, what stands before the first underscore of the file name",
    url="https://stanfordmlgroup.github.io/competitions/mrnet/",
)
