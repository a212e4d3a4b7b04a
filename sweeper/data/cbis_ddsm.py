"""CBIS-DDSM: mammograms with masses or calcifications, an image being malignant if any of its abnormalities is.

The four tables have a row per abnormality; an image is named by the first folder of its path, as
`Mass-Training_P_00001_LEFT_CC`, and a benign finding without callback is benign. `cbis_ddsm` pools masses and
calcifications as Juodelyte et al. 2023 do. Each kind has official parts, but 31 patients who have both are in the
training part of one and in the test part of the other: fold 0 of the pool is refused, that of `cbis_ddsm_mass` and
`cbis_ddsm_calc` is not. 71 views lie in the archive twice, once for each kind, 16 of them with one benign and one
malignant finding; both images stay, each with its own label, and both are of one patient. Crops and masks of the
lesions are not read.
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.data.dataset import Dataset, is_hidden, make_index
from sweeper.data.listed import first_there, listed_images, needed
from sweeper.data.tables import labels_of, read_table, refuse_missing

if TYPE_CHECKING:
    import pandas as pd

_LABELS = {"BENIGN": "benign", "BENIGN_WITHOUT_CALLBACK": "benign", "MALIGNANT": "malignant"}
_COLUMNS = ("patient_id", "pathology", "image file path")
_REMEDY = (
    "put the four case description tables of cancerimagingarchive.net/collection/cbis-ddsm there, and beside them its "
    "DICOM folders, or images/<first folder of the image's path>.png"
)


def _cbis_ddsm(name: str, kinds: tuple[str, ...], counts: dict[str, int]) -> Dataset:
    return listed_images(
        name=name,
        folders=("CBIS-DDSM", "cbis_ddsm", "mammograms"),
        read=partial(_read, kinds),
        file_of=_file,
        classes=("benign", "malignant"),
        metric="auroc",
        channels=1,
        cite="Lee et al. 2017, Scientific Data 4:170177; doi.org/10.7937/K9/TCIA.2016.7O02S9CY",
        licence="CC BY 3.0",
        remedy=_REMEDY,
        patients="the tables' column patient_id",
        counts=counts,
        url="https://www.cancerimagingarchive.net/collection/cbis-ddsm/",
    )


def _read(kinds: tuple[str, ...], base: Path) -> "pd.DataFrame":
    import pandas as pd

    images = pd.concat([_images(base, kind, part) for kind in kinds for part in ("train", "test")])
    if images.index.has_duplicates:
        raise ValueError(f"{base}: image '{images.index[images.index.duplicated()][0]}' is in two of the tables")
    refuse_missing((_file(base, each) for each in images.index), f"a table of {base}")
    return make_index((image, *row) for image, row in zip(images.index, images.to_numpy().tolist(), strict=True))


def _images(base: Path, kind: str, part: str) -> "pd.DataFrame":
    """Label, patient and part of each image of one table, under the image's name."""
    file = f"{kind}_case_description_{part}_set.csv"
    path = needed([base / file, base / "csv" / file], _REMEDY)
    table = read_table(path, _COLUMNS)
    table = table.assign(
        image=table["image file path"].str.strip().str.split("/").str[0],
        label=labels_of(table["pathology"], _LABELS, path),
    )
    grouped = table.groupby("image")
    if (several := grouped["patient_id"].nunique() > 1).any():
        raise ValueError(f"table {path}: image '{several.idxmax()}' has two patients; correct the table")
    found = grouped.agg(label=("label", "max"), patient=("patient_id", "first"))  # "malignant" > "benign"
    return found.assign(part=part)


def _file(base: Path, image: str) -> Path:
    """The picture, or the only DICOM file below the image's folder, whatever the folders between are called."""
    picture = base / "images" / f"{image}.png"
    folder = first_there([base / image, base / "CBIS-DDSM" / image])
    if picture.exists() or not folder.is_dir():
        return picture
    files = sorted(each for each in folder.rglob("*.[dD][cC][mM]") if not is_hidden(each))
    if len(files) != 1:
        raise ValueError(f"folder {folder} holds {len(files)} .dcm files; a mammogram's holds one; fetch it again")
    return files[0]


CBIS_DDSM = _cbis_ddsm("cbis_ddsm", ("mass", "calc"), {"benign": 1728, "malignant": 1375})
CBIS_DDSM_MASS = _cbis_ddsm("cbis_ddsm_mass", ("mass",), {"benign": 845, "malignant": 747})
CBIS_DDSM_CALC = _cbis_ddsm("cbis_ddsm_calc", ("calc",), {"benign": 883, "malignant": 628})
