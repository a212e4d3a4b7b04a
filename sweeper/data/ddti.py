"""DDTI: ultrasound of thyroid nodules, malignant where the radiologists' TI-RADS is 4 or more.

Two sets read the same archive, `<case>.xml` beside `<case>_<image>.jpg`. `ddti` is Juodelyte et al.'s: 480 images of
390 cases, where a case without TI-RADS counts as 1, hence as benign (131 images are labelled so by nobody).
`ddti_graded` leaves those cases out and has the 349 images that the authors of RadImageNet use. A case is a patient,
and there is no official split. The marks of the nodules are not read, but an image that a mark names must be there.
"""

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from sweeper.data.dataset import Dataset, make_index
from sweeper.data.listed import listed_images
from sweeper.data.tables import refuse_missing

if TYPE_CHECKING:
    import pandas as pd

_IMAGE = re.compile(r"(\d+)_(\d+)\.jpe?g", re.IGNORECASE)
_TIRADS = re.compile(r"([1-6])[abc]?")
_MALIGNANT = 4
_REMEDY = "unpack thyroid.zip of cimalab.unal.edu.co/applications/thyroid there"


def _ddti(name: str, *, graded: bool, counts: dict[str, int]) -> Dataset:
    return listed_images(
        name=name,
        folders=("thyroid", "DDTI", "ddti"),
        read=partial(_read, graded),
        classes=("benign", "malignant"),
        metric="auroc",
        channels=1,
        cite="Pedraza et al. 2015, An open access thyroid ultrasound image database, SIPAIM, SPIE 9287",
        licence="open access, cite",
        remedy=_REMEDY,
        patients="the case, the number before the underscore of the file name",
        counts=counts,
        url="http://cimalab.unal.edu.co/applications/thyroid/",
    )


def _read(graded: bool, base: Path) -> "pd.DataFrame":
    images = sorted(each.name for each in base.iterdir() if _IMAGE.fullmatch(each.name))
    if not images:
        raise ValueError(f"{base} has no image named as 1_1.jpg; {_REMEDY}")
    cases = {each.stem: _case(each) for each in sorted(base.glob("[0-9]*.xml"))}
    stems = {Path(image).stem for image in images}
    marked = (f"{case}_{mark}" for case, (_, marks) in cases.items() for mark in marks)
    refuse_missing((base / f"{each}.jpg" for each in marked if each not in stems), base / "*.xml")
    refuse_missing((base / f"{image.split('_')[0]}.xml" for image in images), base / "*.jpg")
    rows = ((image, case, cases[case][0]) for image in images for case in [image.split("_")[0]])
    return make_index((image, _label(grade), case, None) for image, case, grade in rows if grade or not graded)


def _label(grade: int | None) -> str:
    return "malignant" if (grade or 1) >= _MALIGNANT else "benign"


def _case(path: Path) -> tuple[int | None, list[str]]:
    """TI-RADS without its letter, None where it is not told, and the numbers of the images that marks name."""
    try:
        case = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"case {path} is no XML: {error}; fetch the archive again") from error
    tirads = (case.findtext("tirads") or "").strip()
    marks = [(mark.findtext("image") or "").strip() for mark in case.iter("mark")]
    if not tirads:
        return None, [each for each in marks if each]
    if not (grade := _TIRADS.fullmatch(tirads)):
        raise ValueError(f"case {path} has the TI-RADS '{tirads}'; it must be 1..6, with a, b or c at most")
    return int(grade[1]), [each for each in marks if each]


DDTI = _ddti("ddti", graded=False, counts={"benign": 192, "malignant": 288})
DDTI_GRADED = _ddti("ddti_graded", graded=True, counts={"benign": 61, "malignant": 288})
