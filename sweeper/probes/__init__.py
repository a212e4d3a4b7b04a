"""Asks finished cells what they kept of their start, and how they differ: probes over stored states, recorded as rows.

Pure functions of arrays live in the modules beside this one. Ray is imported only when something has to be made of a
state's outputs; what `making` makes, `answers` turns into rows.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from sweeper import store
from sweeper.grid import Sweep
from sweeper.ledger import Finished
from sweeper.live import shown
from sweeper.outcome import Devices
from sweeper.pairing import Ask, asks
from sweeper.probes.answers import Answer, answer
from sweeper.probes.asked import Runs, needed
from sweeper.probes.making import Task, tasks
from sweeper.probes.needs import Features, Need, folder, forget, pieces, starts
from sweeper.site import Site

WAVE = 2**18
"""Images, counted once for each state that sees them, whose pieces are made before those that no probe still needs are
deleted: bounds what lies in the storage (of a ResNet-50's five blocks, 4 GB) while the actors stay warm for minutes."""


def run_probes(
    sweep: Sweep,
    done: Mapping[str, Finished],
    site: Site,
    *,
    slots: int,
    devices: Devices,
    work: Path,
    check_lease: Callable[[], None],
) -> None:
    """Runs what is missing of the sweep's probes on its finished cells, and stores each one's rows as they come.

    Args:
        work: the study's folder of work in flight.
        check_lease: raises when the study is no longer this driver's.
    """
    missing = [ask for ask in asks(sweep.cells, sweep.probes) if _is_missing(ask, done)]
    if not missing:
        return
    wanted = [needed(ask, done, site) for ask in missing]
    left = Counter(folder(need, site) for each in wanted for need in each)
    with shown({f"{sweep.name}: probes": len(missing)}) as (progress,):
        for wave in _waves(wanted, site):
            for index in _as_made([wanted[each] for each in wave], wave, site, slots, devices):
                progress.started()
                found = answer(missing[index], done, site)
                store.patiently(partial(_log, site, missing[index], done, found, work, check_lease), site)
                _tidy(wanted[index], left, site)
                progress.ended()


def _is_missing(ask: Ask, done: Runs) -> bool:
    return all(cell.key in done for cell in ask.cells) and ask.key not in done[ask.cell.key].probes


def _log(site: Site, ask: Ask, done: Runs, found: Answer, work: Path, check_lease: Callable[[], None]) -> None:
    check_lease()  # at each attempt: with the study, its folder of work goes to another driver
    run_id = done[ask.cell.key].run_id
    store.log_probe(site, run_id, ask.probe, found.rows, work, key=ask.key, files=found.files)


def _waves(wanted: Sequence[Sequence[Need]], site: Site) -> Iterator[list[int]]:
    """Numbers of the asks whose pieces are made together."""
    wave: list[int] = []
    seen: dict[Path, int] = {}
    for index, each in enumerate(wanted):
        new = {folder(need, site): len(starts(need, site)) * 1024 for need in each if isinstance(need, Features)}
        if wave and sum((seen | new).values()) > WAVE:
            yield wave
            wave, seen = [], {}
        wave.append(index)
        seen |= new
    if wave:
        yield wave


def _as_made(
    wanted: Sequence[Sequence[Need]], numbers: Sequence[int], site: Site, slots: int, devices: Devices
) -> Iterator[int]:
    """The number of each ask when all that it needs is there."""
    todo = tasks([need for each in wanted for need in each], site)
    waits = [_paths(each, site) & _made_by(todo, site) for each in wanted]
    for number, waiting in zip(numbers, waits, strict=True):
        if not waiting:
            yield number
    if not todo:
        return
    from sweeper.probes.activations import made

    for part, seats in (([task for task in todo if task.alone], 1), ([task for task in todo if not task.alone], slots)):
        for index in made(part, site, slots=seats, devices=devices):
            for path in _made_by([part[index]], site):
                for number, waiting in zip(numbers, waits, strict=True):
                    if path in waiting:
                        waiting.remove(path)
                        if not waiting:
                            yield number


def _paths(wanted: Iterable[Need], site: Site) -> set[Path]:
    return {path for need in wanted for _, path in pieces(need, site)}


def _made_by(todo: Iterable[Task], site: Site) -> set[Path]:
    return {dict(pieces(need, site))[task.start] for task in todo for need in task.needs}


def _tidy(wanted: Iterable[Need], left: Counter[Path], site: Site) -> None:
    """Deletes what no probe needs any more."""
    for need in wanted:
        place = folder(need, site)
        left[place] -= 1
        if not left[place]:
            forget(need, site)
