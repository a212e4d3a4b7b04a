"""Names that people read: a metric in words, a source that is a cell as the data set it was trained on, a path's end.

Frames keep the exact values; only tables and figures are given these names.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import Any

import pandas as pd

from sweeper import store
from sweeper.cell import Cell
from sweeper.site import Site

_KEYED = re.compile(r" \([0-9a-f]{4,16}\)$")
_CELL = "cell:"
_PATH = re.compile(r"^(file|folder):")
_ABBREVIATIONS = ("auroc", "auprc", "nll", "f1", "ece", "ovo", "cka", "cca", "fid")
_WIDEST = 28  # characters


def name_sources(frame: pd.DataFrame, site: Site) -> pd.DataFrame:
    """The frame with each source `cell:KEY` named after that cell's data set, as `flower_photos (3f2a)`.

    The digits are as many of the key as tell the frame's sources apart, at least 4. A cell that is in no study any
    more keeps its `cell:KEY`.
    """
    keys = sorted({source.removeprefix(_CELL) for source in frame["source"] if source.startswith(_CELL)})
    digits = next(number for number in range(4, 65) if len({key[:number] for key in keys}) == len(keys))
    cells = {key: store.described(site, key) for key in keys}
    names = {f"{_CELL}{key}": f"{_trained_on(cell)} ({key[:digits]})" for key, cell in cells.items() if cell}
    return frame.assign(source=frame["source"].replace(names))


def drop_keys(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with sources as plain names where, for each data set and model, these still tell them apart.

    So a source that was trained once per model has one name, hence one colour, in all panels of a figure.
    """
    plain = frame.assign(source=frame["source"].str.replace(_KEYED, "", regex=True), keyed=frame["source"])
    most = plain.groupby(["dataset", "model", "source"])["keyed"].nunique().max()
    return plain.drop(columns="keyed") if most == 1 else frame


def name_metric(metric: str) -> str:
    """A metric, or a column of one, as people write it: `test AUROC`."""
    return " ".join(word.upper() if word in _ABBREVIATIONS else word for word in re.split(r"[_ ]", metric))


def shorten(values: Iterable[str]) -> Callable[[Any], str]:
    """A function from these values to names of at most 28 characters; paths lose their folders if that is clear."""
    distinct = sorted(set(values))
    ends = {value: PurePath(value).name if _PATH.match(value) else value for value in distinct}
    names = ends if len(set(ends.values())) == len(distinct) else dict(zip(distinct, distinct, strict=True))
    return lambda value: _fit(names[value])


def _trained_on(cell: Cell) -> str:
    return PurePath(cell.images.dataset).name


def _fit(name: str) -> str:
    half = (_WIDEST - 1) // 2
    return name if len(name) <= _WIDEST else f"{name[: half + 1]}…{name[-half:]}"
