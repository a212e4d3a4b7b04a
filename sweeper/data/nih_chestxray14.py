"""NIH ChestX-ray14: frontal chest X-rays with any of fourteen findings that a text miner took from the reports.

`No Finding` is no class: an image of it has no label. Boxes, ages and views are not read. The images are those of
`chestmnist`: never use the two as source and target.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.data.dataset import make_index
from sweeper.data.labels import BETWEEN
from sweeper.data.listed import first_there, listed_images, needed
from sweeper.data.tables import read_list, read_table, refuse_missing, refuse_repeated

if TYPE_CHECKING:
    import pandas as pd

_CLASSES = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
_NONE = "No Finding"
_TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
_LISTS = {"train_val_list.txt": "train", "test_list.txt": "test"}
_FOLDERS = ("images", *(f"images_{number:03d}/images" for number in range(1, 13)))
_REMEDY = (
    f"unpack the twelve image archives of nihcc.app.box.com/v/ChestXray-NIHCC there, with {_TABLES[0]} and, for the "
    f"official split, {' and '.join(_LISTS)}"
)


def _read(base: Path) -> "pd.DataFrame":
    path = needed([base / each for each in _TABLES], _REMEDY)
    table = read_entries(path)
    refuse_missing(_files(base, table["image"].tolist()), path)
    return make_index(zip(table["image"], table["label"], table["patient"], _parts(base, table["image"]), strict=True))


def read_entries(path: Path) -> "pd.DataFrame":
    """The official table as `image`, `label` (its findings in the order of the classes) and `patient`.

    Raises:
        ValueError: when an image stands twice, or its findings are none of the known ones, or `No Finding` and others.
    """
    table = read_table(path, ["Image Index", "Finding Labels", "Patient ID"])
    refuse_repeated(table["Image Index"], path)
    told = {text: _ordered(text) for text in table["Finding Labels"].unique()}
    if wrong := [text for text, label in told.items() if label is None]:
        rows = table["Finding Labels"].isin(wrong).sum()
        raise ValueError(
            f"table {path}: {rows} rows have other Finding Labels than '{_NONE}' or some of {', '.join(_CLASSES)}, "
            f"each once (first: '{wrong[0]}'); correct the table"
        )
    table = table.rename(columns={"Image Index": "image", "Finding Labels": "label", "Patient ID": "patient"})
    return table.assign(label=table["label"].map(told))


def _ordered(text: str) -> str | None:
    """The findings in the order of the classes; None where they are not all known, or not each told once."""
    names = text.split(BETWEEN)
    if names == [_NONE]:
        return ""
    known = [each for each in _CLASSES if each in names]
    return BETWEEN.join(known) if len(known) == len(names) else None


def _parts(base: Path, images: "pd.Series") -> list[str | None]:
    """The official part of each image; none where the two lists are not there."""
    lists = [base / name for name in _LISTS]
    if not any(each.exists() for each in lists):
        return [None] * len(images)
    part_of: dict[str, str] = {}
    for path in lists:
        for image in read_list(needed([path], _REMEDY)):
            if image in part_of:
                raise ValueError(f"list {path} repeats '{image}', which is in one of the two lists already")
            part_of[image] = _LISTS[path.name]
    if missing := [each for each in images if each not in part_of]:
        raise ValueError(f"the lists {' and '.join(_LISTS)} lack {len(missing)} images (first: '{missing[0]}')")
    return [part_of[each] for each in images]


def _files(base: Path, images: list[str]) -> Iterator[Path]:
    """Where the images lie, each folder listed once; in the first folder those that are nowhere."""
    folders = [base / each for each in _FOLDERS if (base / each).is_dir()]
    place = dict(chain.from_iterable(((file.name, file) for file in folder.iterdir()) for folder in folders))
    return (place.get(each, base / _FOLDERS[0] / each) for each in images)


def _file(base: Path, image: str) -> Path:
    return first_there([base / folder / image for folder in _FOLDERS])


NIH_CHESTXRAY14 = listed_images(
    name="nih_chestxray14",
    folders=("NIH_ChestXray14", "ChestX-ray14", "nih_chestxray14", "CXR8"),
    read=_read,
    file_of=_file,
    classes=_CLASSES,
    metric="auroc",
    channels=1,
    cite="Wang et al. 2017, ChestX-ray8, CVPR",
    licence="free to use; cite the paper and name the NIH Clinical Center",
    remedy=_REMEDY,
    patients="the table's column Patient ID",
    counts={
        "Atelectasis": 11559, "Cardiomegaly": 2776, "Effusion": 13317, "Infiltration": 19894, "Mass": 5782,
        "Nodule": 6331, "Pneumonia": 1431, "Pneumothorax": 5302, "Consolidation": 4667, "Edema": 2303,
        "Emphysema": 2516, "Fibrosis": 1686, "Pleural_Thickening": 3385, "Hernia": 227,
    },
    url="https://nihcc.app.box.com/v/ChestXray-NIHCC",
    task="multilabel",
)  # fmt: skip
