"""Which image sets lie below the data folder, as far as their indices tell: nothing is decoded.

A set that is not there, or whose index cannot be read, is a line like any other.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sweeper.data.dataset import Dataset, read_index, task_of
from sweeper.data.medmnist_sets import MEMBERS, SIZES

State = Literal["present", "incomplete", "broken", "missing"]
STATES: tuple[State, ...] = ("present", "incomplete", "broken", "missing")
"""In the order of a list: a set is incomplete when its place is there and a file that it needs is not."""
_NOT_FOUND = re.compile(r"data set '.+' was not found; looked for (.+); the environment variable .+")
"""As `dataset.find` says it."""
_STAMP = re.compile(r"(\d+) \d+")
"""As `dataset.file_stamp` writes it: bytes, then the time."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A set as it lies there."""

    name: str
    state: State
    sentence: str = ""
    """Why it is not present."""
    places: str = ""
    """Where a missing set was looked for."""
    remedy: str = ""
    """How to get it."""
    images: int | None = None
    size: int | None = None
    """Bytes of the files that its images are decoded from; None where there are none."""
    classes: int | None = None
    """None where the folders tell them and are not there."""
    task: str = ""
    licence: str
    note: str = ""
    """Which members of a family are present, or how many more sets the line is about."""


def look_up(dataset: Dataset, root: Path) -> Listed:
    """What the index of a set tells."""
    try:
        index, classes = read_index(dataset, root)
        stamps = dataset.sources(root, list(index["image"]))
    except Exception as error:  # noqa: BLE001 (whatever it is, it is this set's line, and the others are listed)
        return _absent(dataset, error, root)
    return Listed(
        name=dataset.name,
        state="present",
        images=len(index),
        size=_bytes(stamps),
        classes=len(classes),
        task=task_of(classes, dataset.task),
        licence=dataset.licence,
    )


def in_families(sets: Iterable[Listed]) -> list[Listed]:
    """The sets with the sizes of each MedMNIST member as one line: the best state, and the sizes that are there."""
    named = {each.name: each for each in sets}
    families = {name: [name if size == SIZES[0] else f"{name}_{size}" for size in SIZES] for name in MEMBERS}
    members = {each: name for name, names in families.items() for each in names}
    joined = {members.get(name, name): None for name in named}
    return [_joined([named[each] for each in families[name]]) if name in families else named[name] for name in joined]


def in_archives(sets: Iterable[Listed]) -> list[Listed]:
    """The sets with those missing ones as one line that one archive holds: the first, and how many more."""
    lines: dict[tuple[str, str], list[Listed]] = {}
    for each in sets:
        lines.setdefault((each.places, each.remedy) if each.state == "missing" else (each.name, ""), []).append(each)
    return [
        replace(first, note=f"and {len(others)} more of its archive") if others else first
        for first, *others in lines.values()
    ]


def in_order(sets: Iterable[Listed]) -> list[Listed]:
    """Those that are present first, else as they were."""
    return sorted(sets, key=lambda each: STATES.index(each.state))


def as_bytes(number: int | None) -> str:
    """`9.8 MB`, or `-` for None."""
    if number is None:
        return "-"
    for power, unit in enumerate(("B", "kB", "MB", "GB")):
        if number < 1000 ** (power + 1):
            return f"{number / 1000**power:.{1 if power else 0}f} {unit}"
    return f"{number / 1000**4:.1f} TB"


def _joined(sizes: Sequence[Listed]) -> Listed:
    """One line for the sizes of a member of MedMNIST."""
    best = in_order(sizes)[0]
    there = [each for each in sizes if each.state == "present"]
    pixels = [str(size) for size, each in zip(SIZES, sizes, strict=True) if each.state == "present"]
    return replace(
        best,
        name=sizes[0].name,
        size=sum(each.size or 0 for each in there) if there else None,
        note=f"{', '.join(pixels)} pixels" if pixels else "",
    )


def _absent(dataset: Dataset, error: Exception, root: Path) -> Listed:
    """The line of a set that cannot be read, for whatever reason."""
    sentence = " ".join(str(error).split()) or type(error).__name__
    found = _NOT_FOUND.fullmatch(sentence) if isinstance(error, FileNotFoundError) else None
    other = "incomplete" if isinstance(error, FileNotFoundError) else "broken"
    return Listed(
        name=dataset.name,
        state="missing" if found else other,
        sentence=sentence,
        places=found[1].replace(f"{root}/", "") if found else "",
        remedy=dataset.remedy,
        classes=len(dataset.classes) if dataset.classes else None,
        task=task_of(dataset.classes, dataset.task) if dataset.classes else dataset.task or "",
        licence=dataset.licence,
    )


def _bytes(stamps: Iterable[str]) -> int | None:
    sizes = [int(found[1]) for found in map(_STAMP.fullmatch, stamps) if found]
    return sum(sizes) if sizes else None
