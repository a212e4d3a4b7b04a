"""Paediatric chest X-rays of Kermany et al., normal against pneumonia, with the official parts and patients.

The archive's version 3 names files by class, patient and image, as `BACTERIA-40699-0001.jpeg`: the patient is `40699`.

Version 2, from which Kaggle's copy is, names them otherwise, and the patient is read as Juodelyte et al. 2023 read it:
`person1` of `person1_virus_6.jpeg`, `0115` of both `IM-0115-0001.jpeg` and `NORMAL2-IM-0115-0001.jpeg`. That these two
are one person is not certain: within each of the four series (bacteria, virus, IM, NORMAL2-IM) no number is in the
official train and in the test part, while between series many are, which looks as if every series were numbered by
itself. But that is a reading of the numbers, and to take two people for one only keeps them in one fold, while to take
one for two would leak. So numbers are joined; by this rule the official parts share patients, fold 0 is refused, and
folds 1 to 5 are what to use.

Never use it with `pneumoniamnist` as source and target: they show the same patients.
"""

import re
from functools import partial
from pathlib import Path

from sweeper.data.folder import image_folder, read_folder

_CLASSES = ("NORMAL", "PNEUMONIA")
_PATIENT = re.compile(r"(person\d+)_(?:bacteria|virus)_|(?:(?:NORMAL2-)?IM|NORMAL|BACTERIA|VIRUS)-(\d+)-")


def _patient_of(file: Path) -> str:
    found = _PATIENT.match(file.name)
    if not found:
        raise ValueError(
            f"image {file} does not name its patient as person1_virus_6.jpeg, IM-0115-0001.jpeg or "
            "VIRUS-40699-0001.jpeg do; take it away, or call it as in the archive"
        )
    return found[1] or found[2]


CHEST_XRAY = image_folder(
    name="chest_xray",
    folder="chest_xray",
    classes=_CLASSES,
    read=partial(read_folder, classes=_CLASSES, patient_of=_patient_of),
    metric="auroc",
    channels=1,
    cite="Kermany, Zhang and Goldbaum 2018, Mendeley Data, doi.org/10.17632/rscbjbr9sj; Cell 172:1122-1131",
    licence="CC BY 4.0",
    remedy="unpack ChestXRay2017.zip of doi.org/10.17632/rscbjbr9sj there",
    patients="person1 of person1_virus_6.jpeg, 0115 of IM-0115-0001.jpeg and of NORMAL2-IM-0115-0001.jpeg, 40699 of "
    "VIRUS-40699-0001.jpeg",
    counts={"NORMAL": 1583, "PNEUMONIA": 4273},
    url="https://doi.org/10.17632/rscbjbr9sj",
)
