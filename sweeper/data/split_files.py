"""Splits as files: those that studies publish, and tables that `export_split` wrote, read as the parts of a set.

Nothing is drawn here, and labels and patients stay the set's own: a file says which images a part has and nothing else.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from sweeper.cell import digest
from sweeper.data.dataset import PARTS
from sweeper.data.protocols import FILES
from sweeper.data.tables import read_table

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("image", "label", "patient", "part")
"""Of an exported table."""
MARK = "sweeper split "
"""What stands before the description of an exported split: in the first line of text, in the metadata of parquet."""
_IMAGE_COLUMNS = ("path", "image", "image_id")
_Place = tuple[str, ...]
"""An image's path from its end: the file, its folder, and so on."""


def read_parts(index: "pd.DataFrame", path: str, *, fold: int, root: Path, where: str) -> "pd.Series":
    """The part of each image as files give it, in the order of the index; `unused` where no file names it.

    The path leads to a folder with `{train,val,test}_fold<k>.csv` for fold k (Juodelyte et al. 2023), to one with the
    folders `1`, `2`, ... of `{train,val,test}.csv` for fold 1, 2, ... (Peng et al. 2023), to one with these three for
    fold 0, or to one exported table, fold 0. Of the columns `path`, `image` and `image_id` the first that is there
    names the images. An image is found by as much of the end of its path as agrees with any, then by its file name
    without ending. A row may stand several times in one part: some sets have one for each finding.

    Args:
        path: below `root`, or absolute.
        where: for the errors.

    Raises:
        FileNotFoundError: when a file is not there.
        ValueError: when a table cannot be read or was edited after its export, names an image that the set does not
            have or has several of, or an image stands in two parts.
    """
    import pandas as pd

    place = root / Path(path).expanduser()
    named = _exported(place, where) if place.is_file() else _published(place, fold, where)
    if place.is_file() and fold != 0:
        raise ValueError(f"{where}: the table {place} holds one split, which is fold 0")
    rows = _rows_of(dict.fromkeys(image for images in named.values() for image in images), index, place, where)
    parts = pd.Series("unused", index=index.index, name="part", dtype="str")
    for part, images in named.items():
        chosen = parts.index[[rows[image] for image in images]]
        if len(twice := parts[chosen][parts[chosen] != "unused"]):
            first = index["image"][twice.index[0]]
            raise ValueError(f"{where}: {len(twice)} images of {part} are in {twice.iloc[0]} too (first: '{first}')")
        parts[chosen] = part
    return parts


def fingerprint(table: "pd.DataFrame") -> str:
    """16 hex digits of the rows of a split, whatever their order: equal for equal image, label, patient and part."""
    return digest(table[list(COLUMNS)].astype("str").sort_values("image").to_numpy().tolist())


def digests_of(protocol: str, fold: int, root: Path) -> dict[str, str]:
    """The name of each file that makes a split, below what the protocol names -> 16 hex digits of its content.

    None where no files make it.

    Raises:
        FileNotFoundError: when a file is not there.
    """
    if not protocol.startswith(FILES):
        return {}
    path = protocol.removeprefix(FILES)
    place = root / Path(path).expanduser()
    told = {each.relative_to(place.parent if each == place else place): each for each in files_of(path, fold, root)}
    return {name.as_posix(): hashlib.sha256(each.read_bytes()).hexdigest()[:16] for name, each in told.items()}


def files_of(protocol_path: str, fold: int, root: Path) -> list[Path]:
    """The files that make a split."""
    place = root / Path(protocol_path).expanduser()
    return [place] if place.is_file() else list(_tables(place, fold, f"files:{protocol_path} fold {fold}").values())


def _published(place: Path, fold: int, where: str) -> dict[str, list[str]]:
    return {part: _images_of(path) for part, path in _tables(place, fold, where).items()}


def _tables(place: Path, fold: int, where: str) -> dict[str, Path]:
    """Part -> its table in a folder."""
    ways = [{part: place / f"{part}.csv" for part in PARTS}]
    if fold:
        ways = [{part: place / f"{part}_fold{fold}.csv" for part in PARTS}]
        ways += [{part: place / str(fold) / f"{part}.csv" for part in PARTS}]
    for tables in ways:
        if all(path.is_file() for path in tables.values()):
            return tables
    missing = [str(path) for tables in ways for path in tables.values() if not path.is_file()]
    raise FileNotFoundError(
        f"{where}: there is no split of train, val and test; {', '.join(missing)} are not there; the environment "
        "variable SWEEPER_DATA sets the folder that relative paths are below"
    )


def _images_of(path: Path) -> list[str]:
    table = read_table(path, [], optional=_IMAGE_COLUMNS)
    if table.columns.empty:
        raise ValueError(f"table {path} has none of the columns {', '.join(_IMAGE_COLUMNS)}, which name the images")
    return list(dict.fromkeys(table.iloc[:, 0]))


def _exported(path: Path, where: str) -> dict[str, list[str]]:
    """Part -> its images, of a table that is what was exported."""
    table, about = _read_parquet(path) if path.suffix == ".parquet" else _read_text(path)
    if missing := [each for each in COLUMNS if each not in table]:
        raise ValueError(f"{where}: table {path} has no column '{missing[0]}'; it needs {', '.join(COLUMNS)}")
    if about and about["fingerprint"] != fingerprint(table):
        raise ValueError(
            f"{where}: the rows of {path} are not those of its fingerprint {about['fingerprint']}: it was changed "
            "after its export; export it again"
        )
    if foreign := sorted(set(table["part"]) - {*PARTS, "unused"}):
        raise ValueError(f"{where}: table {path} has the part '{foreign[0]}'; it must be {', '.join(PARTS)} or unused")
    return {part: list(dict.fromkeys(table["image"][table["part"] == part])) for part in PARTS}


def _read_text(path: Path) -> tuple["pd.DataFrame", dict[str, str]]:
    import pandas as pd

    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        if not first.startswith(f"# {MARK}"):
            return read_table(path, COLUMNS), {}
        return pd.read_csv(file, dtype="str", keep_default_na=False), json.loads(first.removeprefix(f"# {MARK}"))


def _read_parquet(path: Path) -> tuple["pd.DataFrame", dict[str, str]]:
    from pyarrow import parquet

    table = read_table(path, COLUMNS)
    known = (parquet.read_schema(path).metadata or {}).get(MARK.strip().encode())
    return table, json.loads(known) if known else {}


def _rows_of(images: Sequence[str] | dict[str, None], index: "pd.DataFrame", place: Path, where: str) -> dict[str, int]:
    """Name in a file -> the position of its image in the index."""
    ends: dict[_Place, list[int]] = defaultdict(list)
    stems: dict[str, list[int]] = defaultdict(list)
    for row, image in enumerate(index["image"]):
        steps = _steps(image)
        for length in range(1, len(steps) + 1):
            ends[steps[:length]].append(row)
        stems[PurePosixPath(image).stem].append(row)
    found = {image: _candidates(image, ends, stems) for image in images}
    _refuse(where, place, "are not in the set", [image for image, rows in found.items() if not rows])
    _refuse(where, place, "fit several images of the set", [image for image, rows in found.items() if len(rows) > 1])
    taken = dict[int, str]()
    twice = [image for image, rows in found.items() if taken.setdefault(rows[0], image) != image]
    _refuse(where, place, "fit an image that another name fits", twice)
    return {image: rows[0] for image, rows in found.items()}


def _candidates(image: str, ends: dict[_Place, list[int]], stems: dict[str, list[int]]) -> list[int]:
    """The rows that agree with as much of the end of a path as any does."""
    steps = _steps(image)
    for length in range(len(steps), 0, -1):
        if steps[:length] in ends:
            return ends[steps[:length]]
    return stems.get(PurePosixPath(image).stem, [])


def _steps(image: str) -> _Place:
    return tuple(reversed(PurePosixPath(image.replace("\\", "/")).parts))


def _refuse(where: str, place: Path, what: str, images: list[str]) -> None:
    if images:
        raise ValueError(f"{where}: {len(images)} images that {place} names {what} (first: '{images[0]}')")
