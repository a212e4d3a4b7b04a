"""What is left of a sweep, what has changed since it was last run, and how long it will take.

It reads the store and the cache and changes nothing; it imports neither torch nor Ray, so that it answers at once.
"""

import math
import operator
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from typing import Any

from rich.table import Table

from sweeper import data, ledger
from sweeper.cell import Cell, Images, LrSearch
from sweeper.costs import Costs
from sweeper.data.split_files import digests_of
from sweeper.grid import Sweep
from sweeper.ledger import Failed, Records
from sweeper.live import as_time
from sweeper.outcome import ATTEMPTS
from sweeper.pairing import asks
from sweeper.site import Site

AGAIN = ("failed", "stale")
"""What is run again only when asked for."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is left of one sweep."""

    sweep: Sweep
    records: Records
    left: tuple[Cell, ...]
    """Cells to be run."""
    failed: tuple[Cell, ...]
    """Cells that failed by their own fault, or too often, and are not run again unless asked for."""
    stale: tuple[Cell, ...]
    """Finished cells whose images, or the files that split them, have changed since."""
    searches: int
    """Settings among the cells left of which none has finished, so that their rate may have to be searched."""
    trials: int
    """Rate trials of those searches, if none of them has begun."""
    probes: int
    """Probe runs that cells lack."""
    seconds: float | None
    """Device time of the cells and trials left, from those recorded; None before the first of the study is finished."""
    changes: tuple[str, ...]
    """What is different from what the store holds, a sentence each."""
    waits: str | None = None
    """Why the sweep's cells are not known yet."""


def plan(sweep: Sweep, site: Site, again: Collection[str] = ()) -> Plan:
    """What the store says is left of a sweep.

    Args:
        again: `failed` and `stale` cells are run again when they are named here.
    """
    records = ledger.read(site, sweep.name)
    stale = _stale(sweep.cells, records, site)
    redone = {cell.key for cell in stale} if "stale" in again else set()
    given_up = {key for key, failure in records.failed.items() if not _retried(failure) and "failed" not in again}
    unfinished = [cell for cell in sweep.cells if cell.key not in records.finished or cell.key in redone]
    left = tuple(cell for cell in unfinished if cell.key not in given_up)
    costs = known_costs(records)
    found = {cell.setting() for cell in sweep.cells if cell.key in records.finished and _searched(cell)}
    new = {cell.setting(): cell for cell in left if _searched(cell) and cell.setting() not in found}
    times = [costs.expected(cell) for cell in left] + [_search_time(cell, costs) for cell in new.values()]
    return Plan(
        sweep=sweep,
        records=records,
        left=left,
        failed=tuple(cell for cell in unfinished if cell.key in given_up),
        stale=tuple(stale),
        searches=len(new),
        trials=sum(_search(cell).trainings for cell in new.values()),
        probes=_lacking(sweep, records, left),
        seconds=None if None in times else sum(time for time in times if time is not None),
        changes=tuple(_changes(sweep, records, stale)),
    )


def _lacking(sweep: Sweep, records: Records, left: Collection[Cell]) -> int:
    """How many probe runs there will be; none of cells that are given up."""
    new = {cell.key for cell in left}
    there = new | records.finished.keys()
    possible = [ask for ask in asks(sweep.cells, sweep.probes) if all(cell.key in there for cell in ask.cells)]
    done = {key: record.probes for key, record in records.finished.items() if key not in new}
    return sum(any(cell.key in new for cell in ask.cells) or ask.key not in done[ask.cell.key] for ask in possible)


def unknown(sweep: Sweep, waits: str) -> Plan:
    """The plan of a sweep whose cells are not known yet, and why they are not."""
    return Plan(
        sweep=sweep,
        records=Records(),
        left=(),
        failed=(),
        stale=(),
        searches=0,
        trials=0,
        probes=0,
        seconds=None,
        changes=(),
        waits=waits,
    )


def attempts(records: Records, again: Collection[str]) -> dict[str, int]:
    """Key -> how often a cell has failed with the machine under it, as far as that still counts."""
    failed = {} if "failed" in again else records.failed
    return {key: failure.attempts for key, failure in failed.items() if failure.fault == "system"}


def known_costs(records: Records) -> Costs:
    """What the finished cells tell of the time that others will take."""
    costs = Costs()
    for each in records.finished.values():
        if math.isfinite(each.seconds):
            recipe = each.cell.recipe
            passes = math.ceil(each.epochs / recipe.validations) if each.epochs else recipe.epochs
            costs.observe(each.cell, each.seconds, passes)
    return costs


def as_table(plans: Sequence[Plan]) -> Table:
    """One line a sweep, for a person."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    names = ("study", "cells", "done", "left", "failed", "stale", "searches", "trials", "probes", "time")
    for name in names:
        table.add_column(name, justify="left" if name == "study" else "right", no_wrap=True)
    for each in plans:
        if each.waits:
            table.add_row(each.sweep.name, *("?" for _ in names[1:]))
            continue
        total, left, failed, stale = (len(part) for part in (each.sweep.cells, each.left, each.failed, each.stale))
        numbers = (total, total - left - failed, left, failed, stale, each.searches, each.trials, each.probes)
        table.add_row(each.sweep.name, *map(str, numbers), as_time(each.seconds) if left else "0:00")
    return table


def _retried(failure: Failed) -> bool:
    """Whether a failed cell is begun again without being asked for; what failed before faults were recorded is."""
    return failure.fault is None or (failure.fault == "system" and failure.attempts < ATTEMPTS)


def _searched(cell: Cell) -> bool:
    return isinstance(cell.recipe.lr, LrSearch)


def _search(cell: Cell) -> LrSearch:
    assert isinstance(cell.recipe.lr, LrSearch)
    return cell.recipe.lr


def _search_time(cell: Cell, costs: Costs) -> float | None:
    search = _search(cell)
    once = costs.expected(cell, search.trial_epochs(cell.recipe.epochs))
    return None if once is None else once * search.trainings


def _stale(cells: Iterable[Cell], records: Records, site: Site) -> dict[Cell, tuple[str, ...]]:
    """Finished cells of which something has changed since they were trained -> what has, a clause each."""
    fingerprint = cache(lambda dataset, size: _fingerprint(dataset, size, site))
    split_files = cache(lambda protocol, fold: _split_files(protocol, fold, site))
    found = {}
    for cell in cells:
        if record := records.finished.get(cell.key):
            images = cell.images
            told = [
                *_changed_images(images, record.fingerprint, fingerprint),
                *_changed_files(images, record.split_files, split_files),
            ]
            found |= {cell: tuple(told)} if told else {}
    return found


def _changed_images(images: Images, then: str | None, fingerprint: Callable[[str, int], str | None]) -> Iterator[str]:
    now = fingerprint(images.dataset, images.size) if then else None
    if now not in (None, then):
        yield (
            f"the images of '{images.dataset}' at {images.size} px have changed (fingerprint {then} then, {now} now)"
        )


def _changed_files(
    images: Images, then: Mapping[str, str], split_files: Callable[[str, int], Mapping[str, str]]
) -> Iterator[str]:
    now = split_files(images.protocol, images.fold) if then else {}
    for name in sorted(then.keys() | now.keys()) if now else ():
        if then.get(name) != now.get(name):
            yield f"'{name}' of the split '{images.protocol}' fold {images.fold} has changed"


def _fingerprint(dataset: str, size: int, site: Site) -> str | None:
    from sweeper.data.cache import fingerprint  # pandas, which a new study's plan does without

    return fingerprint(data.DATASETS[dataset], size, site)


def _split_files(protocol: str, fold: int, site: Site) -> Mapping[str, str]:
    """As they are now; empty where they are not all there."""
    try:
        return digests_of(protocol, fold, site.data)
    except FileNotFoundError:
        return {}


def _changes(sweep: Sweep, records: Records, stale: Mapping[Cell, Sequence[str]]) -> Iterator[str]:
    for what, count in Counter(clause for told in stale.values() for clause in told).items():
        yield f"{count} finished cells are stale: {what}"
    declared = {cell.key for cell in sweep.cells}
    gone = [each.cell for key, each in records.finished.items() if key not in declared]
    if gone:
        new = [cell for cell in sweep.cells if cell.key not in records.finished]
        yield f"{len(gone)} finished cells are no longer declared{_differences(gone, new)}"


def _differences(gone: Sequence[Cell], new: Sequence[Cell]) -> str:
    """The end of a sentence: which one axis sets cells apart from new ones that are otherwise equal."""
    then, now = [cell.row() for cell in gone], [cell.row() for cell in new]
    axes = sorted({axis for row in (*then, *now) for axis in row})
    left = [(row, _mark(row, axes)) for row in then]
    others = [(row, _mark(row, axes)) for row in now]
    told: Counter[str] = Counter()
    for axis in axes:
        twins = {mark ^ _item(row, axis): row for row, mark in others}
        alike = [(row, twins[mark ^ _item(row, axis)]) for row, mark in left if mark ^ _item(row, axis) in twins]
        told.update(f"{axis} ({row.get(axis)} then, {twin.get(axis)} now)" for row, twin in alike)
        left = [(row, mark) for row, mark in left if mark ^ _item(row, axis) not in twins]
    return "".join(f"; {count} differ from new ones only in {text}" for text, count in told.most_common(5))


def _mark(row: Mapping[str, Any], axes: Iterable[str]) -> int:
    """Equal for equal rows; an item's share can be taken out again with `^`."""
    return reduce(operator.xor, (_item(row, axis) for axis in axes))


def _item(row: Mapping[str, Any], axis: str) -> int:
    return hash((axis, str(row.get(axis))))
