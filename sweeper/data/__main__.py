"""`python -m sweeper.data [NAME]`: lists the image sets, or verifies one and draws a contact sheet of it.

Nothing is fetched, repaired or cached, and torch is not imported. A name may also be `folder:PATH` or `table:PATH`.

Exit codes: 0 listed, or sound; 1 error (the set is not there, or its index is wrong); 2 a mistake in the command; 3 the
set is not sound (unreadable files; equal images or near-duplicates across parts; equal images with different labels;
other counts than published); 130 interrupted.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from sweeper.data import DATASETS, Dataset, UnknownDatasetError, task_of
from sweeper.data.contact_sheet import SMALLEST, draw_sheets
from sweeper.data.listing import Listed, as_bytes, in_archives, in_families, in_order, look_up
from sweeper.site import Site

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.data.verifying import Remark, Verified

_SIZE = 128
_WIDE = 200
"""Columns where the output is no terminal: a set is one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Lists the sets or verifies one, and returns the exit code."""
    options = _options(arguments)
    try:
        site = Site.from_environment()
        if options.name is None:
            _list(site, every=options.all, missing=options.missing)
            return 0
        return _verify(DATASETS[options.name], site, options.out or site.cache / "contact_sheets", options.size)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except (OSError, ValueError, LookupError, RuntimeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What is asked for; a mistake ends the program with 2."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.name is None:
        return options
    if options.all or options.missing:
        parser.error("--all and --missing are for the list: leave the name out")
    if options.size < SMALLEST:
        parser.error(f"--size is {options.size}; it must be at least {SMALLEST} pixels")
    try:
        DATASETS[options.name]
    except (UnknownDatasetError, ValueError) as error:
        parser.error(str(error))
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sweeper.data",
        description="Lists the image sets, or verifies one and draws a contact sheet of it.",
        epilog=(__doc__ or "").strip().split("\n\n")[-1],
    )
    parser.add_argument("name", nargs="?", help="the set to verify: a name of the list, folder:PATH or table:PATH")
    parser.add_argument("--all", action="store_true", help="list every name on a line of its own")
    parser.add_argument("--missing", action="store_true", help="say where missing sets were looked for, and the remedy")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="of the contact sheet (default: in the cache folder)"
    )
    parser.add_argument(
        "--size", type=int, default=_SIZE, metavar="N", help=f"pixels of an image on it (default: {_SIZE})"
    )
    return parser


def _list(site: Site, *, every: bool, missing: bool) -> None:
    console = _console()
    console.print(f"data folder: {site.data} (SWEEPER_DATA)\n")
    sets = [look_up(dataset, site.data) for dataset in DATASETS.values()]
    lines = in_order(sets if every else in_families(sets))
    console.print(_as_table(lines if every else in_archives(lines)))
    for each in sets:
        if each.state in ("broken", "incomplete"):
            console.print(f"\n{each.name} is {each.state}: {each.sentence}", soft_wrap=True)
    absent = [each for each in lines if each.state == "missing"]
    if missing:
        _say_remedies(console, absent)
    elif absent:
        console.print(f"\n{len(absent)} are missing; --missing says where they were looked for and how to get them")


def _say_remedies(console: Console, absent: Sequence[Listed]) -> None:
    """Where missing sets were looked for below the data folder, and how to get them; those of one archive together."""
    archives: dict[tuple[str, str], list[str]] = {}
    for each in absent:
        archives.setdefault((each.places, each.remedy), []).append(each.name)
    for (places, remedy), names in archives.items():
        console.print(f"\n{', '.join(names)}", soft_wrap=True)
        console.print(f"  looked for {places}\n  to get it: {remedy}", soft_wrap=True)


def _as_table(lines: Sequence[Listed]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("data set", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("images", "size", "classes"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("task", no_wrap=True)
    table.add_column("licence", overflow="fold")
    for each in lines:
        state = f"{each.state} ({each.note})" if each.note else each.state
        images, classes = ("-" if number is None else f"{number}" for number in (each.images, each.classes))
        table.add_row(each.name, state, images, as_bytes(each.size), classes, each.task or "-", each.licence)
    return table


def _verify(dataset: Dataset, site: Site, folder: Path, size: int) -> int:
    from sweeper.data.verifying import by_class, counts, remarks, verify

    console = _console()
    verified = verify(dataset, site)
    _say_facts(console, verified)
    console.print()
    console.print(_as_counts(counts(verified)))
    console.print()
    found = remarks(verified)
    _say_remarks(console, found)
    sheets = draw_sheets(
        by_class(verified, verified.sound),
        title=f"{dataset.name}: {len(verified.images)} images, {len(verified.classes)} classes",
        decode=lambda image: dataset.decode(site.data, image),
        size=size,
        path=folder / f"{_safe(dataset.name)}.png",
    )
    for sheet in sheets:
        console.print(f"contact sheet: {sheet}", soft_wrap=True)
    faults = [each.topic for each in found if each.fault]
    console.print(f"{dataset.name} is not sound: {', '.join(faults)}" if faults else f"{dataset.name} is sound")
    return 3 if faults else 0


def _say_facts(console: Console, verified: "Verified") -> None:
    dataset = verified.dataset
    task = task_of(verified.classes, dataset.task)
    facts = {
        "set": dataset.name,
        "task": f"{task}, {len(verified.classes)} classes, selected by {dataset.metric}",
        "pixels": "grey" if dataset.channels == 1 else "colour",
        "patient": dataset.patients,
        "cite": dataset.cite,
        "licence": dataset.licence,
        "url": dataset.url or "-",
    }
    for name, fact in facts.items():
        console.print(f"{name:<8} {fact}", soft_wrap=True)


def _as_counts(counts: "pd.DataFrame") -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("class", overflow="fold")
    for column in counts.columns:
        table.add_column(str(column), justify="right", no_wrap=True)
    if "difference" in counts:
        signed = counts["difference"].map(lambda number: f"{number:+d}" if number else "0")
        counts = counts.assign(difference=signed)
    for row in counts.itertuples(name=None):
        table.add_row(*map(str, row))
    return table


def _say_remarks(console: Console, found: "Sequence[Remark]") -> None:
    for each in found:
        console.print(f"{each.topic:<16} {'FAULT: ' if each.fault else ''}{each.text}", soft_wrap=True)
        for name in each.named:
            console.print(f"{'':<18} {name}", soft_wrap=True)


def _console() -> Console:
    is_terminal = sys.stdout.isatty()
    return Console(markup=False, highlight=False, soft_wrap=False, width=None if is_terminal else _WIDE)


def _safe(name: str) -> str:
    """A file name that any system takes."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name)[-60:]


if __name__ == "__main__":
    sys.exit(main())
