"""A figure or table of a study as files that name their origin: PNG, PDF, the CSV behind them, and a JSON.

The JSON names every cell and the command that makes the figure again; the PNG and the PDF carry it too, so that a
picture in a paper can be traced when it is all that is left. `explain` reads it. A table has no picture, but a LaTeX
form whose first line is that command. Nothing is computed or drawn here.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis import look
from analysis.latex import as_latex

PNG_FIELD, PDF_FIELD = "sweeper", "Keywords"
"""Where the JSON lies in a PNG (a text chunk of this name) and in a PDF (this entry of its information)."""
VERSION = 1
"""Of the JSON's form."""


@dataclass(frozen=True, kw_only=True)
class Plate:
    """What is to be saved."""

    name: str
    """The files' name, without ending."""
    shows: str
    """One sentence: what is drawn, of which numbers."""
    data: pd.DataFrame
    """The numbers behind it, in full precision."""
    keys: frozenset[str] = frozenset()
    """The cells that the numbers are of."""
    figure: Figure | None = None
    """None: a table, which has no picture."""
    published: tuple[Path, ...] = ()
    """Tables of others that the numbers are of."""
    without: str = ""
    """What a table has no columns for, as it was not recorded; empty where it has all."""


@dataclass(frozen=True, kw_only=True)
class Lack:
    """A figure that a study has no rows for."""

    name: str
    reason: str
    """What is missing, and what would record it."""


def origin(plate: Plate, runs: pd.DataFrame, command: str) -> dict[str, Any]:
    """What the JSON of a plate says.

    Args:
        runs: rows of `frames.runs` that hold the plate's cells.
        command: what makes the plate again.

    Raises:
        ValueError: when a cell of the plate is not in `runs`, or it is of no cell and of no published table.
    """
    mine = runs[runs["key"].isin(plate.keys)].drop_duplicates("key")
    if lost := sorted(plate.keys - set(mine["key"])):
        raise ValueError(f"figure '{plate.name}' is of cell {lost[0]}, which the runs do not hold: it cannot be traced")
    if not plate.keys and not plate.published:
        raise ValueError(f"figure '{plate.name}' names no cell and no table that it is of: it cannot be traced")
    return {
        "version": VERSION,
        "figure": plate.name,
        "shows": plate.shows,
        "command": command,
        "csv": f"{plate.name}.csv",
        "studies": sorted(set(mine["study"])),
        "commits": sorted(set(mine["commit"])),
        "cells": [_cell(row) for row in mine.to_dict("records")],
        "published": [{"file": path.name, "sha256": _sha256(path)} for path in plate.published],
    }


def save(plate: Plate, out: Path, told: Mapping[str, Any]) -> list[Path]:
    """The files of a plate in a folder, equal for equal plates; those that are there are replaced.

    Args:
        told: of `origin`.
    """
    out.mkdir(parents=True, exist_ok=True)
    paths = {ending: out / f"{plate.name}.{ending}" for ending in ("png", "pdf", "csv", "json")}
    plate.data.to_csv(paths["csv"], index=False)
    paths["json"].write_text(json.dumps(told, indent=1) + "\n")
    if plate.figure is None:
        table = out / f"{plate.name}.tex"
        table.write_text(f"% {told['command']}\n{as_latex(plate.data)}", encoding="utf-8")
        return [paths["csv"], table, paths["json"]]
    text = json.dumps(told, separators=(",", ":"))  # ASCII, which both formats hold as it is
    plate.figure.savefig(paths["png"], dpi=look.DOTS_PER_INCH, metadata={PNG_FIELD: text, "Software": None})
    plate.figure.savefig(paths["pdf"], metadata={PDF_FIELD: text, "CreationDate": None})
    return list(paths.values())


def keys_of(*frames: pd.DataFrame) -> frozenset[str]:
    """The cells of some rows, those that they were compared with among them."""
    found: set[str] = set()
    for frame in frames:
        for name in ("key", "other"):
            if name in frame:
                found |= set(frame[name].dropna())
    return frozenset(found)


def lacking(name: str, wanted: str, remedy: str) -> Lack:
    """A figure that is left out, in one line."""
    return Lack(name=name, reason=f"no {wanted}; {remedy}")


def _cell(row: Mapping[Any, Any]) -> dict[str, Any]:
    split = f"{row['protocol']}, fold {row['fold']}" + ("" if row["fraction"] == 1 else f", {row['fraction']:g} of it")
    known = {name: row[name] for name in ("study", "key", "run_id", "commit", "fingerprint")}
    return {**known, "dataset": row["dataset"], "split": split}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
