"""What a study was asked for when it was last begun, kept with it for its report: why, which cells, how long.

Nothing here decides a result.
"""

import ast
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from sweeper import store
from sweeper.plan import Plan
from sweeper.site import Site

_TAG = "sweeper.asked"
"""Recorded studies have it: it stays."""
_PARAGRAPHS, _LONGEST = 2, 1500  # characters: MLflow takes 5000 in a tag


@dataclass(frozen=True, kw_only=True)
class Start:
    """A start of a study."""

    question: str
    """The first paragraphs of the study file's docstring; empty where it has none."""
    command: str
    declared: int
    """Cells of the sweep."""
    left: int
    """Those that were to be run."""
    seconds: float | None
    """Device time that was predicted for them and their rate trials; None before any cell of the study had finished."""
    began: float
    """Seconds since 1970."""


def record(planned: Plan, file: str | Path, command: str, site: Site) -> None:
    """Keeps with a study what it is begun for."""
    start = Start(
        question=question_of(Path(file).read_text()),
        command=command,
        declared=len(planned.sweep.cells),
        left=len(planned.left),
        seconds=planned.seconds,
        began=time.time(),
    )
    store.patiently(lambda: store.note(site, planned.sweep.name, {_TAG: json.dumps(asdict(start))}), site)


def read(site: Site, study: str) -> Start | None:
    """What a study was last begun for; None where an older version began it."""
    text = store.notes(site, study).get(_TAG)
    return Start(**json.loads(text)) if text else None


def question_of(source: str) -> str:
    """The first two paragraphs of a file's docstring, one a line, at most 1500 characters."""
    paragraphs = (ast.get_docstring(ast.parse(source)) or "").split("\n\n")
    return "\n".join(" ".join(each.split()) for each in paragraphs[:_PARAGRAPHS])[:_LONGEST]
