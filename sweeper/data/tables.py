"""Tables beside image files: CSV, TSV and parquet as frames of text, and what is wrong with them in one sentence.

Nothing is repaired or left out here: a table or an archive with a fault is refused with the place, the number and the
first case. pandas is imported inside the functions.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import normalize

if TYPE_CHECKING:
    import pandas as pd

_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
"""What a file of another Unicode encoding begins with."""
_PACKED = (b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ")
"""What a packed file begins with: gzip, zip (which spreadsheets are too), bzip2, xz."""
_TABULATED = (".tsv", ".tab")
_NOTHING = ("", "nan", "NaN", "NAN", "<NA>", "NA", "N/A", "null", "NULL")
"""What stands in a cell without value, as pandas, R and SQL write it."""


def read_table(
    path: Path, columns: Sequence[str], *, optional: Sequence[str] = (), header: bool = True
) -> "pd.DataFrame":
    """These columns of a table as text, an empty cell as ""; an optional column may be absent.

    Args:
        path: `.parquet`, tab-separated `.tsv` or `.tab`, or anything else as CSV; a line break within quotes is kept.
        columns: what must be there; without a header, the names of the first columns.

    Raises:
        ValueError: when the file is no such table, not UTF-8, without row, or lacks a column or has it twice.
    """
    _refuse_folder(path)
    is_parquet = path.suffix.lower() == ".parquet"
    table = _read_parquet(path) if is_parquet else _read_text(path, None if header else columns)
    if missing := [each for each in columns if each not in table.columns]:
        there = ", ".join(str(each) for each in table.columns)
        raise ValueError(f"table {path} has no column '{missing[0]}'; it needs {', '.join(columns)} and has {there}")
    if twice := [each for each in (*columns, *optional) if list(table.columns).count(each) > 1]:
        raise ValueError(f"table {path} has several columns '{twice[0]}'; keep one")
    if table.empty:
        raise ValueError(f"table {path} has no row; fetch it again")
    return table[[*columns, *(each for each in optional if each in table.columns)]]


def read_list(path: Path) -> list[str]:
    """The lines of a text file, without empty ones and without the space around them.

    Raises:
        ValueError: when the file is not UTF-8, or has no such line.
    """
    _refuse_folder(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"list {path} {_not_text(path)}") from error
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise ValueError(f"list {path} has no line; fetch it again")
    return found


def labels_of(column: "pd.Series", labels: Mapping[str, str], path: Path) -> "pd.Series":
    """The label that each text stands for.

    Raises:
        ValueError: when a text stands for none.
    """
    if (foreign := ~column.isin(list(labels))).any():
        raise ValueError(
            f"table {path}: {foreign.sum()} rows have another {column.name} than {', '.join(labels)} "
            f"(first: '{column[foreign].iloc[0]}'); correct the table"
        )
    return column.map(labels)


def labels_of_columns(table: "pd.DataFrame", classes: Sequence[str], path: Path) -> "pd.Series":
    """The one class of each row whose column holds 1.

    Raises:
        ValueError: when a cell is neither 0 nor 1, or not exactly one column of a row holds 1.
    """
    import pandas as pd

    values = table[list(classes)].apply(pd.to_numeric, errors="coerce")
    if (wrong := ~(values.isin([0, 1]).all(axis=1) & (values.sum(axis=1) == 1))).any():
        raise ValueError(
            f"table {path}: {wrong.sum()} rows have not exactly one 1 among {', '.join(classes)} "
            f"(first: '{table.iloc[:, 0][wrong].iloc[0]}'); correct the table"
        )
    return values.idxmax(axis=1)


def refuse_repeated(column: "pd.Series", path: Path) -> None:
    """Raises ValueError when a text stands twice in a column."""
    if (twice := column.duplicated()).any():
        raise ValueError(
            f"table {path}: {twice.sum()} rows repeat the {column.name} of another "
            f"(first: '{column[twice].iloc[0]}'); keep one row each"
        )


def refuse_missing(files: Iterable[Path], named_by: Path | str) -> None:
    """Raises FileNotFoundError when files that a table names are not there; each folder is listed once."""
    listed: dict[Path, set[str]] = {}
    missing = []
    for file in files:
        if file.parent not in listed:
            listed[file.parent] = set(os.listdir(file.parent)) if file.parent.is_dir() else set()
        if file.name not in listed[file.parent]:
            missing.append(file)
    if missing:
        first, remedy = missing[0], "fetch the archive again, or take their rows out of the table"
        if normalize("NFC", first.name) in {normalize("NFC", each) for each in listed[first.parent]}:
            remedy = "its letters are composed otherwise than those of the file's name; write both in the form NFC"
        raise FileNotFoundError(f"{len(missing)} files that {named_by} names are not there (first: {first}); {remedy}")


def is_nothing(column: "pd.Series") -> "pd.Series":
    """Whether each text is what a program writes where a value is missing, bool."""
    return column.isin(_NOTHING)


def _read_parquet(path: Path) -> "pd.DataFrame":
    import pandas as pd

    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"table {path} cannot be read as parquet: {f'{error}'.rstrip('.')}; fetch it again") from error
    return table.astype("str").where(table.notna(), "")


def _read_text(path: Path, names: Sequence[str] | None) -> "pd.DataFrame":
    """Every cell as it is written; `names` are those of the columns where the first line does not tell them.

    The first line is read as a row: where rows have a cell more than names, pandas would move the names by one, and
    give the second of two columns of one name another.
    """
    import pandas as pd

    separator = "\t" if path.suffix.lower() in _TABULATED else ","
    try:
        table = pd.read_csv(
            path, sep=separator, dtype="str", keep_default_na=False, encoding="utf-8-sig", header=None
        )  # fmt: skip
    except UnicodeDecodeError as error:
        raise ValueError(f"table {path} {_not_text(path)}") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        told = " ".join(f"{error}".split()).rstrip(".")
        raise ValueError(f"table {path} cannot be read as text: {told}; correct it, or fetch it again") from error
    if names is not None:
        return table.rename(columns=dict(enumerate(names)))
    return table[1:].set_axis(table.iloc[0].str.strip().to_list(), axis=1).reset_index(drop=True)


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise ValueError(f"{path} is a folder; it must be a file: unpack the archive again")


def _not_text(path: Path) -> str:
    """The end of the sentence on a file that is not UTF-8: what it looks like, and what to do."""
    with path.open("rb") as file:
        if file.read(5).startswith(_PACKED):
            return "is no text but a packed file; unpack it"
    return f"is not UTF-8 but looks like {_encoding(path)}; save it as UTF-8"


def _encoding(path: Path) -> str:
    """What a table that is not UTF-8 most likely is."""
    text = path.read_bytes()
    if text[:2] in _MARKS:
        return _MARKS[text[:2]]
    try:
        text.decode("cp1252")
    except UnicodeDecodeError:
        return "ISO 8859-1"  # which any bytes are
    return "Windows-1252"
