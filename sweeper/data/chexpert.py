"""CheXpert: chest X-rays with fourteen observations that a labeller took from the reports, some of them uncertain.

What a report does not mention counts as absent. The name says what becomes of what it is uncertain about: absent
(`u_zeros`), present (`u_ones`), or not known (`u_ignore`: left out of loss and scores). With `u_zeros` an image of
which nothing is left gets No Finding, as Matsoukas et al. 2022 do; they take these labels, Peng et al. 2023 `u_ones`.
`chexpert_low_*` and `chexpert_high_*` have the observations of the latter's two sources, `chexpert_five_*` those of the
competition, and `chexpert_<observation>` tells that one alone, `u_ones`, from its absence.

The official split has the radiologists' 200 studies of valid.csv as test part, no validation part, and no test.csv,
which came years later. Sex, age and view are not read.
"""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.data.dataset import Dataset, make_index
from sweeper.data.labels import texts_of
from sweeper.data.listed import listed_images, needed
from sweeper.data.tables import read_table, refuse_missing, refuse_repeated

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_ALL = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
    "Support Devices",
)  # fmt: skip
_SUBSETS = {
    "chexpert": tuple(range(14)),
    "chexpert_low": (3, 5, 6, 7, 8, 10, 11),
    "chexpert_high": (0, 1, 2, 4, 9, 12, 13),
    "chexpert_five": (2, 5, 6, 8, 10),
}
"""Places in the tables' order: low and high as Peng et al. 2023, five as Irvin et al. 2019."""
_UNCERTAIN = {"u_zeros": 0, "u_ones": 1, "u_ignore": -1}
"""What an uncertain observation counts as; -1 is not known."""
_VALUES = {"": 0, "0.0": 0, "0": 0, "1.0": 1, "1": 1, "-1.0": -1, "-1": -1}
_TABLES = {"train.csv": "train", "valid.csv": "test"}
_PATIENT = re.compile(r"(?:^|/)(patient\d+)/")
_REMEDY = (
    "ask for CheXpert-v1.0 or CheXpert-v1.0-small at stanfordmlgroup.github.io/competitions/chexpert and unpack it "
    "there, with train.csv and valid.csv"
)


def _chexpert(name: str, classes: tuple[str, ...], chosen: Sequence[int], policy: str, **facts: Any) -> Dataset:
    return listed_images(
        name=name,
        folders=("CheXpert-v1.0", "CheXpert-v1.0-small", "CheXpert"),
        read=partial(_read, classes, tuple(chosen), policy),
        classes=classes,
        metric="auroc",
        channels=1,
        cite="Irvin et al. 2019, CheXpert, AAAI 33:590-597",
        licence="Stanford University Dataset Research Use Agreement",
        remedy=_REMEDY,
        patients="the patient in the path, as patient00001",
        url="https://stanfordmlgroup.github.io/competitions/chexpert",
        **facts,
    )


def _read(classes: tuple[str, ...], chosen: tuple[int, ...], policy: str, base: Path) -> "pd.DataFrame":
    import pandas as pd

    tables = pd.concat([_read_part(base, name, part) for name, part in _TABLES.items()], ignore_index=True)
    told = _told(tables, policy)[:, list(chosen)]  # (images, chosen)
    texts = texts_of(told, [_ALL[each] for each in chosen]) if len(chosen) > 1 else [classes[each[0]] for each in told]
    images = tables["Path"].str.partition("/")[2]  # the paths begin with the name of the archive
    refuse_missing((base / each for each in images), " and ".join(_TABLES))
    return make_index(zip(images, texts, tables["patient"], tables["part"], strict=True))


def _read_part(base: Path, name: str, part: str) -> "pd.DataFrame":
    path = needed([base / name], _REMEDY)
    table = read_table(path, ["Path", *_ALL])
    refuse_repeated(table["Path"], path)
    for each in _ALL:
        if (foreign := ~table[each].isin(list(_VALUES))).any():
            raise ValueError(
                f"table {path}: {foreign.sum()} rows have another {each} than 1, 0, -1 or nothing "
                f"(first: '{table[each][foreign].iloc[0]}'); correct the table"
            )
    patients = table["Path"].str.extract(_PATIENT, expand=False)
    if (nameless := patients.isna()).any():
        raise ValueError(
            f"table {path}: {nameless.sum()} paths name no patient (first: '{table['Path'][nameless].iloc[0]}'); "
            "they are written as CheXpert-v1.0/train/patient00001/study1/view1_frontal.jpg"
        )
    return table.assign(patient=patients, part=part)


def _told(tables: "pd.DataFrame", policy: str) -> "np.ndarray":
    """What is known of every observation, int8 (images, 14): 1, 0, or -1 where it is not known."""
    import numpy as np

    values = np.stack([tables[each].map(_VALUES).to_numpy(dtype=np.int8) for each in _ALL], axis=1)
    told = np.where(values == -1, np.int8(_UNCERTAIN[policy]), values)
    if policy == "u_zeros":
        told[:, 0] |= (told == 0).all(axis=1)
    return told


def _one(number: int) -> Dataset:
    """The set that tells one observation from its absence."""
    name = _ALL[number].lower()
    return _chexpert(f"chexpert_{name.replace(' ', '_')}", (f"no {name}", name), [number], "u_ones")


CHEXPERT = (
    *(
        _chexpert(f"{name}_{policy}", tuple(_ALL[each] for each in chosen), chosen, policy, task="multilabel")
        for name, chosen in _SUBSETS.items()
        for policy in _UNCERTAIN
    ),
    *map(_one, range(len(_ALL))),
)
