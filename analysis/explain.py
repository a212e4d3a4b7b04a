"""`python -m analysis.explain FIGURE`: what a figure is of, from the file alone.

It reads what `plates` wrote into the PNG, PDF or JSON, and asks no store: a figure explains itself anywhere.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from pypdf import PdfReader

from analysis.plates import PDF_FIELD, PNG_FIELD, VERSION

ENDINGS = (".png", ".pdf", ".json", ".csv")


def explain(path: str | Path) -> dict[str, Any]:
    """What a figure's file says of its origin: the JSON that `plates.origin` made.

    Args:
        path: a PNG, PDF or JSON of a figure, or a CSV, whose JSON lies beside it.

    Raises:
        FileNotFoundError: when there is no such file, or no JSON beside a CSV.
        ValueError: when it is no figure of this system, or of a later version of it.
    """
    path = Path(path)
    if path.suffix == ".csv":
        path = path.with_suffix(".json")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; name the PNG, PDF, CSV or JSON of a figure")
    text = _text(path)
    found = json.loads(text) if text and text.startswith("{") else {}
    if "command" not in found or "cells" not in found:
        raise ValueError(f"{path} does not say what it is of: it was not made by this system, or its metadata was lost")
    if found["version"] > VERSION:
        raise ValueError(f"{path} is of version {found['version']}, this program reads {VERSION}; use a newer one")
    return found


def as_text(found: Mapping[str, Any]) -> str:
    """The origin for a terminal: what is shown, the command, splits, published tables, and a line per run."""
    cells = found["cells"]
    lines = [
        f"{found['figure']}: {found['shows']}",
        f"again:   {found['command']}",
        f"numbers: {found['csv']}",
    ]
    if cells:
        lines += [f"studies: {', '.join(found['studies'])}", f"commits: {', '.join(found['commits'])}", "splits:"]
        splits = sorted({(cell["dataset"], cell["split"], cell["fingerprint"]) for cell in cells})
        lines += [f"  {dataset}: {split} [{fingerprint}]" for dataset, split, fingerprint in splits]
    lines += [f"table:   {each['file']} (sha256 {each['sha256']})" for each in found["published"]]
    lines += [f"runs ({len(cells)}): cell, run, commit, split"] if cells else []
    lines += [f"  {c['key']}  {c['run_id']}  {c['commit']}  {c['dataset']}, {c['split']}" for c in cells]
    return "\n".join(lines)


def _text(path: Path) -> str | None:
    """The JSON in a file; None where it has none."""
    match path.suffix:
        case ".json":
            return path.read_text()
        case ".png":
            with Image.open(path) as image:
                return image.info.get(PNG_FIELD)
        case ".pdf":
            return (PdfReader(path).metadata or {}).get(f"/{PDF_FIELD}")
    raise ValueError(f"{path} is no figure's file; its name ends in none of {', '.join(ENDINGS)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints what a figure is of and returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.explain",
        description="Prints the runs, commits and splits that a figure is of, and the command that makes it again.",
    )
    parser.add_argument("figure", type=Path, help="its PNG, PDF, CSV or JSON")
    try:
        print(as_text(explain(parser.parse_args(arguments).figure)))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
