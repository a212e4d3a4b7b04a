"""`python -m sweeper.check STUDY [--read-data] [--repair]`: says whether the record of a study is whole.

Nothing is trained here, and without `--repair` nothing is written. Without options files are only looked at: each
finished cell has one finished run, each of its files the size it was written with, its loss curve one point an epoch (a
tracking server is not asked for curves, nor for more than that its files are there and not empty). `--read-data` reads
everything. In runs from before there were manifests, a changed bit of a state's numbers is not seen.

Exit codes: 0 sound, 1 error (no such study, MLflow away, another driver at work), 2 a mistake in the command, 3 damage
found (with --repair: found and queued again, so that running the study's file makes just that anew), 130 interrupted.
"""

import argparse
import json
import math
import sqlite3
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from sweeper import ledger, store, work
from sweeper.cell import Cell
from sweeper.contents import Known, cell_contradictions, contradictions, unreadable_rows
from sweeper.lease import acquire
from sweeper.outcome import Outcome
from sweeper.site import Site

if TYPE_CHECKING:
    from mlflow.entities import Run

_FILES = ("best.safetensors", "start.safetensors", "predictions.parquet", "epochs.parquet")
_SEALED_FILES = (*_FILES, "outcome.json", work.MANIFEST)
_PATIENCE = 20.0
"""Seconds for MLflow to answer, or for another driver to end: nothing is lost by giving up."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is wrong with one run, or with one trained cell that waits to be recorded."""

    key: str
    title: str
    run_id: str | None = None
    folder: Path | None = None
    """Of a cell that waits."""
    damage: tuple[str, ...] = ()
    """A sentence each, which begins with the file."""
    probes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Probe key -> what is wrong with its rows."""

    @property
    def lines(self) -> tuple[str, ...]:
        return (*self.damage, *(line for lines in self.probes.values() for line in lines))


def main(arguments: Sequence[str] | None = None) -> int:
    """Checks one study and returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sweeper.check",
        description="Says whether the record of a study is whole.",
        epilog=(__doc__ or "").strip().split("\n\n")[-1],
    )
    parser.add_argument("study", help="its name, such as quickstart")
    parser.add_argument("--read-data", action="store_true", help="read every file and compute the scores again")
    parser.add_argument("--repair", action="store_true", help="queue what is damaged again, and nothing else")
    options = parser.parse_args(arguments)
    try:
        site = Site.from_environment()
        site = replace(site, patience=min(site.patience, _PATIENCE))
        if options.repair:
            verdicts = _repair(site, options.study, options.read_data)
        else:
            verdicts = _told(check(site, options.study, read=options.read_data))
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except (OSError, ValueError, LookupError, RuntimeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except sqlite3.Error as error:
        print(f"SQLite cannot read {Site.from_environment().tracking}: {error}", file=sys.stderr)
        return 1
    damaged = {each.key for each in verdicts if each.lines}
    if damaged and not options.repair:
        print("What is damaged is queued again by the same command with --repair.", file=sys.stderr)
    print(f"{len({each.key for each in verdicts})} cells checked, {len(damaged)} damaged")
    return 3 if damaged else 0


def check(site: Site, study: str, *, read: bool) -> list[Verdict]:
    """One verdict a finished run and trained cell that waits to be recorded, sorted by title, then the oldest first.

    Args:
        read: also read all files.

    Raises:
        LookupError: when there is no such study, naming those that there are.
        FileNotFoundError: when the folder of the study's files is not there at all.
        ConnectionError: when MLflow does not answer.
    """
    ledger.require_whole(site, read=read)
    waiting = list(_judge_waiting(site, study, read))  # before the runs that they become while a driver works
    found = store.patiently(lambda: store.runs(site, study), site)
    runs = sorted((run for run in found if store.KEY in run.data.tags), key=lambda run: run.info.start_time)
    points = ledger.epoch_points(site, study)
    verdicts = _without_repeats([_judge(run, site, points, read) for run in runs])
    finished = {each.key for each in verdicts}
    verdicts += [each for each in waiting if each.key not in finished]
    return sorted(verdicts, key=lambda each: each.title)


def _repair(site: Site, study: str, read: bool) -> list[Verdict]:
    """Checks a study while no driver works on it, and takes out what is damaged."""
    ledger.require_whole(site, read=False)
    store.patiently(lambda: store.runs(site, study), site)  # a study that does not exist is not locked
    with acquire(site.study(study), patience=_PATIENCE) as lease:
        verdicts = _told(check(site, study, read=read))
        for each in verdicts:
            lease.check()
            for what in _take_out(each, site):
                print(f"{each.title}: {what} is taken out of the record")
    return verdicts


def _take_out(verdict: Verdict, site: Site) -> Iterator[str]:
    """Forgets a damaged run, or only its damaged probes, and says what."""
    run_id, folder = verdict.run_id, verdict.folder
    if verdict.damage and folder:
        work.discard(folder)
        yield str(folder)
    elif verdict.damage and run_id:
        store.patiently(lambda: store.forget(site, run_id), site)
        yield f"run {run_id}"
    elif run_id:
        for key in verdict.probes:
            store.patiently(lambda key=key: store.forget_probe(site, run_id, key), site)
            yield f"probe {key}"


def _told(verdicts: list[Verdict]) -> list[Verdict]:
    """The verdicts, after a line for each thing that is wrong."""
    for each in verdicts:
        for line in each.lines:
            print(f"{each.title}: {line}")
    waiting = sum(each.folder is not None and not each.damage for each in verdicts)
    if waiting:
        print(f"{waiting} trained cells are waiting to be recorded: the next run records them")
    return verdicts


def _judge_waiting(site: Site, study: str, read: bool) -> Iterator[Verdict]:
    """Of each trained cell that waits to be recorded, unless a driver records it just now."""
    for folder in [each for work_folder in site.study(study).glob("work-*") for each in work.sealed(work_folder)]:
        try:
            verdict = _judge_folder(folder, read)
        except FileNotFoundError:
            if folder.exists():
                raise
        else:
            if folder.exists():
                yield verdict


def _judge_folder(folder: Path, read: bool) -> Verdict:
    """Of a trained cell's folder, which is named by its key."""
    path = folder / "outcome.json"
    damage = work.damage(folder, read=read)
    damage += list(_absences(str(folder), _sizes(folder), _SEALED_FILES, damage))
    if not _named(path, damage):
        damage += cell_contradictions(path, lambda: _cell_of(path), folder.name)
    title = f"[{folder.name}]" if _named(path, damage) else _cell_of(path).title()
    return Verdict(key=folder.name, title=title, folder=folder, damage=tuple(damage))


def _cell_of(outcome: Path) -> Cell:
    return Outcome.from_json(outcome.read_text()).cell


def _judge(run: "Run", site: Site, points: Mapping[str, int] | None, read: bool) -> Verdict:
    """Of a finished run."""
    run_id, tags, uri = run.info.run_id, run.data.tags, str(run.info.artifact_uri)
    with ExitStack() as borrowed:
        folder = _folder(run, site, read, borrowed)
        place = str(folder or uri)
        sizes = _sizes(folder) if folder else store.patiently(lambda: store.sizes(site, run_id), site)
        sealed = store.EPOCHS in tags or work.MANIFEST in sizes
        names = _SEALED_FILES if sealed else _FILES
        damage = work.damage(folder, read=read) if folder and sealed else []
        damage += list(_absences(place, sizes, names, damage))
        files = _probe_files(tags)
        probes = {key: list(_absences(place, sizes, list(names))) for key, names in files.items()}
        if folder and read:
            damage += _content_damage(run, folder, [name for name in names if not _named(folder / name, damage)], site)
            probes = {key: probes[key] or _probe_damage(folder, names) for key, names in files.items()}
    shown = place if store.local_path(uri) else uri  # not the folder into which a server's files were fetched
    return Verdict(
        key=tags[store.KEY],
        title=str(run.info.run_name),
        run_id=run_id,
        damage=(*_tag_damage(run), *_count_damage(run, points), *(line.replace(place, shown) for line in damage)),
        probes={key: tuple(line.replace(place, shown) for line in lines) for key, lines in probes.items() if lines},
    )


def _folder(run: "Run", site: Site, read: bool, borrowed: ExitStack) -> Path | None:
    """Where a run's files can be read; None when they lie on a server and are not to be read.

    Refuses to take files for lost when the whole folder that holds the study's is away.
    """
    folder = store.local_path(str(run.info.artifact_uri))
    if folder and not folder.parents[1].is_dir():
        raise FileNotFoundError(f"{folder.parents[1]}, which holds the files of all runs, is not there: mount it")
    if folder or not read:
        return folder
    fetched = Path(borrowed.enter_context(TemporaryDirectory()))
    store.patiently(lambda: store.fetch(site, run.info.run_id, fetched), site)
    return fetched


def _content_damage(run: "Run", folder: Path, names: Sequence[str], site: Site) -> list[str]:
    curves = store.patiently(lambda: store.curves(site, run.info.run_id, run.data.metrics), site)
    known = Known(tags=run.data.tags, metrics=run.data.metrics, curves=curves)
    return [line for name in names if name != work.MANIFEST for line in contradictions(folder / name, known)]


def _probe_damage(folder: Path, names: Mapping[str, str | None]) -> list[str]:
    """What is wrong with a probe's files; a hash is not known where rows were stored before there were manifests."""
    changed = [name for name, known in names.items() if known and work.sha256(folder / name) != known]
    torn = [f"{folder / name} has other bytes than were written" for name in changed]
    return torn or unreadable_rows(folder / next(iter(names)))


def _without_repeats(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts, where all runs of a cell but the first sound one, else the first one, are damage."""
    by_key: dict[str, list[Verdict]] = defaultdict(list)
    for each in verdicts:
        by_key[each.key].append(each)
    kept = {key: next((each for each in group if not each.damage), group[0]) for key, group in by_key.items()}
    return [each if each is kept[each.key] else _repeated(each, kept[each.key]) for each in verdicts]


def _repeated(verdict: Verdict, kept: Verdict) -> Verdict:
    line = f"run {verdict.run_id} is finished beside run {kept.run_id}, and a cell has one finished run"
    return replace(verdict, damage=(*verdict.damage, line))


def _tag_damage(run: "Run") -> list[str]:
    tags = run.data.tags
    place = f"MLflow's tag {store.CELL} of run {run.info.run_id}"
    return cell_contradictions(place, lambda: Cell.from_json(tags[store.CELL]), tags[store.KEY])


def _count_damage(run: "Run", points: Mapping[str, int] | None) -> Iterator[str]:
    """The number of epochs as MLflow has it three times over."""
    count = run.data.metrics.get("epochs_run", math.nan)
    known: dict[str, str | int] = {f"its tag {store.EPOCHS}": run.data.tags.get(store.EPOCHS, f"{count:.17g}")}
    if points is not None:
        known["its loss curve"] = points.get(run.info.run_id, 0)
    for place, number in known.items():
        if str(number) != f"{count:.17g}":
            yield f"MLflow's run {run.info.run_id} has {count:g} epochs_run and {number} epochs in {place}"


def _probe_files(tags: Mapping[str, str]) -> dict[str, dict[str, str | None]]:
    """Probe key -> its files, the rows first, and their sha256 as far as it is known."""
    mark = f"{store.PROBE}."
    found: dict[str, dict[str, str | None]] = {}
    for key in sorted(name.removeprefix(mark) for name in tags if name.startswith(mark)):
        beside = json.loads(tags.get(f"{store.PROBE_FILES}.{key}", "{}"))
        found[key] = {f"{store.PROBES}/{tags[mark + key]}-{key}.parquet": tags.get(f"{store.PROBE_SUM}.{key}")}
        found[key] |= {f"{store.PROBES}/{name}": known for name, known in beside.items()}
    return found


def _sizes(folder: Path) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def _absences(place: str, sizes: Mapping[str, int], names: Sequence[str], known: Sequence[str] = ()) -> Iterator[str]:
    """The files that are missing or empty, but for those that are named already."""
    for name in names:
        if not sizes.get(name) and not _named(f"{place}/{name}", known):
            yield f"{place}/{name} is {'empty' if name in sizes else 'missing'}"


def _named(path: Path | str, lines: Sequence[str]) -> bool:
    return any(line.startswith(f"{path} ") for line in lines)


if __name__ == "__main__":
    sys.exit(main())
