"""Any CSV, TSV or parquet table of images as a data set: `table:PATH`, with no code to write.

Columns `image` and `label`, and, where they are known, `patient` and `part` (train, val or test, or as `folder` calls
them). A path of an image is relative to the table's folder, or absolute; a backslash in it stands between folders, as
on Windows. Space around a cell is none of it, and a cell is empty where pandas, R or SQL wrote that a value is missing.

Where an image may have several labels, or none, the name tells the columns that hold 1 or 0 instead of the column
`label`, two or more: `table:PATH?labels=Edema|Pleural Effusion`. Their order is that of the classes.
"""

from functools import partial
from os.path import normpath
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.data.dataset import Dataset, file_stamp, find, make_index
from sweeper.data.folder import PART_NAMES
from sweeper.data.labels import BETWEEN, UNKNOWN, texts_of
from sweeper.data.tables import is_nothing, read_table, refuse_missing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import pandas as pd

_LABELS = "?labels="
_REMEDY = (
    "put a .csv, .tsv or .parquet file with the columns image, label[, patient, part] there; columns of several labels "
    f"are named as table:PATH{_LABELS}A{BETWEEN}B"
)
_KNOWN = {"0": 0, "0.0": 0, "False": 0, "1": 1, "1.0": 1, "True": 1}
"""What a column of one of several labels may hold; pandas writes what parquet holds so."""
_OTHER = ("image", "patient", "part")
"""Columns that hold no label."""


def named_table(name: str) -> Dataset:
    """The data set that `table:PATH` names: colour images, AUROC as the selecting score.

    The classes are the labels sorted as text, or the columns that the name tells.

    Raises:
        ValueError: when it names no file, or its columns are fewer than two, twice the same, or no labels.
    """
    path, told, labels = name.removeprefix("table:").partition(_LABELS)
    if not path:
        raise ValueError("data set 'table:' names no file; write table:PATH, below the data folder or absolute")
    classes = _classes_of(name, labels) if told else None
    place = partial(_place, name, path)
    return Dataset(
        name=name,
        classes=classes,
        metric="auroc",
        channels=3,
        cite="the user's own table",
        licence="the user's own",
        remedy=_REMEDY,
        index=partial(_index, place, classes),
        decode=partial(_decode, place),
        sources=partial(_sources, place),
        patients="the table's column patient; without that column each image is its own",
        task="multilabel" if classes else None,
    )


def _classes_of(name: str, labels: str) -> tuple[str, ...]:
    classes = tuple(each.strip() for each in labels.split(BETWEEN))
    if len(classes) < 2 or "" in classes:
        raise ValueError(
            f"data set '{name}' must name two or more columns, as table:PATH{_LABELS}A{BETWEEN}B; a single one is the "
            "column label of table:PATH"
        )
    if wrong := [each for each in classes if each in _OTHER or each.startswith(UNKNOWN) or classes.count(each) > 1]:
        raise ValueError(
            f"data set '{name}': '{wrong[0]}' is no label; each column stands once, is none of {', '.join(_OTHER)}, "
            f"and does not begin with '{UNKNOWN}'"
        )
    return classes


def _place(name: str, path: str, root: Path) -> Path:
    found = find(name, [root / Path(path).expanduser()], _REMEDY)
    if found.is_dir():
        raise ValueError(f"data set '{name}': {found} is a folder; write folder:PATH, or name the table in it")
    return found


def _index(place: "Callable[[Path], Path]", classes: tuple[str, ...] | None, root: Path) -> "pd.DataFrame":
    path = place(root)
    table = read_table(path, ["image", *(classes or ["label"])], optional=["patient", "part"])
    table = table.apply(lambda column: column.str.strip())
    for column in ("image", "label", "patient"):
        _refuse_empty(table, column, path)
    table = table.assign(image=table["image"].str.replace("\\", "/"))
    if classes:
        table = table.assign(label=_several(table, classes, path))
    else:
        _refuse_equal_numbers(table["label"], path)
    _refuse_twice(table, path)
    refuse_missing((path.parent / each for each in table["image"]), path)
    parts = _parts(table["part"], path) if "part" in table else [None] * len(table)
    patients = table["patient"] if "patient" in table else table["image"]
    return make_index(zip(table["image"], table["label"], patients, parts, strict=True))


def _parts(column: "pd.Series", path: Path) -> "list[str | None]":
    """The part of each row; None where the cell is empty."""
    told = column.mask(is_nothing(column), "").str.lower()
    if (foreign := ~told.isin(["", *PART_NAMES])).any():
        raise ValueError(f"table {path} has the part '{column[foreign].iloc[0]}'; it must be {', '.join(PART_NAMES)}")
    return [PART_NAMES[each] if each else None for each in told]


def _several(table: "pd.DataFrame", classes: tuple[str, ...], path: Path) -> "np.ndarray":
    """The labels of each row as text."""
    import numpy as np

    for each in classes:
        if (wrong := ~table[each].isin(list(_KNOWN))).any():
            row = int(wrong.to_numpy().argmax())
            raise ValueError(
                f"table {path}: {wrong.sum()} rows have another {each} than 0 or 1 (first: row {row + 1}: "
                f"'{table[each].iloc[row]}'); correct the table"
            )
    return texts_of(np.stack([table[each].map(_KNOWN) for each in classes], axis=1).astype(np.int8), classes)


def _refuse_empty(table: "pd.DataFrame", column: str, path: Path) -> None:
    if column in table and (empty := is_nothing(table[column])).any():
        row = int(empty.to_numpy().argmax())
        said = f": '{table[column].iloc[row]}'" if table[column].iloc[row] else ""
        raise ValueError(f"table {path}: {empty.sum()} rows have no {column} (first: row {row + 1}{said}); fill it in")


def _refuse_equal_numbers(labels: "pd.Series", path: Path) -> None:
    """A number is one class, however it is written."""
    import pandas as pd

    texts = pd.Series(sorted(set(labels)))
    numbers = pd.to_numeric(texts, errors="coerce")
    if (again := numbers.notna() & numbers.duplicated()).any():
        one, other, *_ = texts[numbers == numbers[again].iloc[0]]
        raise ValueError(f"table {path}: the labels '{one}' and '{other}' are one number; write it in one way")


def _refuse_twice(table: "pd.DataFrame", path: Path) -> None:
    """Each file stands once, however its path is written; a repeat with another label is called a conflict."""
    files = table["image"].map(normpath)
    labels = table["label"].groupby(files).unique()
    if len(conflicts := labels[labels.map(len) > 1]):
        named = ", ".join(sorted(conflicts.iloc[0]))
        raise ValueError(
            f"table {path}: {len(conflicts)} images have several labels (first: '{conflicts.index[0]}': {named}); "
            "keep one"
        )
    if (twice := files.duplicated()).any():
        raise ValueError(
            f"table {path}: {twice.sum()} rows repeat an image (first: '{files[twice].iloc[0]}'); keep one row each"
        )


def _decode(place: "Callable[[Path], Path]", root: Path, image: str) -> "np.ndarray":
    from sweeper.data.picture import decode_file

    return decode_file(place(root).parent / image, channels=3)


def _sources(place: "Callable[[Path], Path]", root: Path, images: "Sequence[str]") -> list[str]:
    folder = place(root).parent
    return [file_stamp(folder / image) for image in images]
