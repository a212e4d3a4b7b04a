"""`python -m analysis.frames STUDY [STUDY ...] OUT/`: the frames of studies as files, for other programs.

Parquet keeps types and every digit; CSV keeps every digit, and names no types. Nothing is computed or rounded here.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis import frames
from sweeper.site import Site

KINDS = {"runs": frames.runs, "epochs": frames.epochs, "probes": frames.probes, "predictions": frames.predictions}
FORMATS = ("parquet", "csv")


def export(
    studies: Sequence[str],
    out: Path,
    site: Site,
    *,
    kinds: Sequence[str] = tuple(KINDS),
    formats: Sequence[str] = FORMATS,
) -> list[Path]:
    """The files that were written into `out`, one per kind of row and format; those that are there are replaced.

    Args:
        kinds: of `KINDS`.
        formats: of `FORMATS`.

    Raises:
        LookupError: when there is no such study.
    """
    written = []
    for kind in kinds:
        rows = KINDS[kind](list(studies), site)  # before the folder is made: there may be no such study
        out.mkdir(parents=True, exist_ok=True)
        for form in formats:
            path = out / f"{kind}.{form}"
            rows.to_parquet(path, index=False) if form == "parquet" else rows.to_csv(path, index=False)
            written.append(path)
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the frames, names the files and returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.frames", description="Writes the rows of one or several studies as files."
    )
    parser.add_argument("study", nargs="+", help="a study's name, as in Sweep(name=...)")
    parser.add_argument("out", type=Path, help="a folder")
    parser.add_argument("--rows", nargs="+", choices=tuple(KINDS), default=tuple(KINDS), help="default: all")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS, help="default: both")
    chosen = parser.parse_args(arguments)
    try:
        written = export(chosen.study, chosen.out, Site.from_environment(), kinds=chosen.rows, formats=chosen.formats)
    except (OSError, LookupError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    for path in written:
        print(path)
    return 0
