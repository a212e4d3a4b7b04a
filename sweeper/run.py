"""`python -m sweeper.run FILE [--plan]`: checks a study, says what is left of it, and does that.

Running the same file again is the resume. Exit codes: 0 done, 1 error, 2 a mistake in the command or the study file,
3 finished with failed cells, 130 interrupted.
"""

import argparse
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from sweeper import data, models, store, weights
from sweeper.cell import Cell, Images, LrSearch, Network, Weights, probe_key
from sweeper.grid import StudyError, Sweep, check, load, nearest, source_key
from sweeper.live import as_time
from sweeper.site import Site

if TYPE_CHECKING:
    from sweeper.tuning import Failure

_CONSOLE = Console(markup=False, highlight=False, soft_wrap=True)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is left of one sweep."""

    sweep: Sweep
    left: tuple[Cell, ...]
    searches: int
    """Settings among the cells left whose rate is a search."""
    trials: int
    """Rate trials of those searches, if none of them has begun."""
    probes: int
    """Probe runs that the finished cells still lack."""
    seconds: float | None
    """Device time of the cells left, from those recorded; None before the first of the study is finished."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one study file and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sweeper.run", description="Runs a study file.")
    parser.add_argument("file", help="a search space, such as search_spaces/quickstart.py")
    parser.add_argument("--plan", action="store_true", help="say what is left to do, and do nothing")
    options = parser.parse_args(arguments)
    site = Site.from_environment()
    try:
        sweeps = load(options.file)
        check(sweeps, problems)
        _check_sources(sweeps, site)
    except StudyError as mistakes:
        print(f"{options.file}:\n{mistakes}", file=sys.stderr)
        return 2
    plans = [plan(sweep, site) for sweep in sweeps]
    _CONSOLE.print(_as_table(plans))
    if options.plan:
        return 0
    try:
        return _run(plans, site, options.file)
    except KeyboardInterrupt:
        print(
            f"\nInterrupted. What is finished is kept; go on with: python -m sweeper.run {options.file}",
            file=sys.stderr,
        )
        return 130
    except (OSError, ValueError, LookupError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def plan(sweep: Sweep, site: Site) -> Plan:
    """What the store says is left of a sweep."""
    done = store.finished(site, sweep.name)
    left = tuple(cell for cell in sweep.cells if cell.key not in done)
    searched = {cell.setting(): cell.recipe.lr for cell in left if isinstance(cell.recipe.lr, LrSearch)}
    wanted = {probe_key(probe) for probe in sweep.probes}
    lacking = sum(len(wanted - done[cell.key].probes) for cell in sweep.cells if cell.key in done)
    known = [done[cell.key].seconds for cell in sweep.cells if cell.key in done]
    return Plan(
        sweep=sweep,
        left=left,
        searches=len(searched),
        trials=sum(search.trials for search in searched.values()),
        probes=lacking + len(wanted) * len(left),
        seconds=fmean(known) * len(left) if known else None,
    )


def problems(cell: Cell) -> Iterator[str]:
    """What the rooms know to be wrong with a cell."""
    yield from _image_problems(cell.images)
    yield from _network_problems(cell.network, cell.weights, cell.images.size, cell.recipe.frozen)


@lru_cache(maxsize=4096)
def _image_problems(images: Images) -> tuple[str, ...]:
    found = []
    if images.dataset not in data.DATASETS:
        found.append(f"dataset '{images.dataset}' is unknown; {nearest(images.dataset, data.DATASETS)}")
    if images.augment not in data.AUGMENT_NAMES:
        found.append(f"augment '{images.augment}' is unknown; {nearest(images.augment, data.AUGMENT_NAMES)}")
    return tuple(found)


@lru_cache(maxsize=4096)
def _network_problems(network: Network, start: Weights, size: int, frozen: int) -> tuple[str, ...]:
    trouble = models.problem(network, size)
    if trouble:
        return (trouble,)
    kept = network.depth or models.MODELS[network.model].blocks[network.grain]
    counted = (("blocks", start.blocks), ("frozen", frozen))
    found = [
        f"{axis}={value} is impossible: only {kept} {network.grain}s of '{network.model}' are kept"
        for axis, value in counted
        if value is not None and value > kept
    ]
    unfit = weights.problem(start, network.model)
    return (*found, unfit) if unfit else tuple(found)


def _check_sources(sweeps: Sequence[Sweep], site: Site) -> None:
    """Every `cell:KEY` is a cell of this file, declared no later than it is used, or a finished one."""
    declared: dict[str, Cell] = {}
    mistakes: dict[str, None] = {}
    for sweep in sweeps:
        declared |= {cell.key: cell for cell in sweep.cells}
        for cell in sweep.cells:
            key = source_key(cell)
            if key is not None and key in declared:
                mistakes |= dict.fromkeys(_source_problems(cell, declared[key]))
            elif key is not None:
                store.state_path(key, "best", site)
    if mistakes:
        raise StudyError("\n".join(mistakes))


def _source_problems(cell: Cell, source: Cell) -> Iterator[str]:
    own, other = cell.network, source.network
    if own.model != other.model:
        yield f"a cell with model '{own.model}' cannot start from cell {source.key}, whose model is '{other.model}'"
    elif other.depth is not None and (own.depth is None or own.grain != other.grain or own.depth > other.depth):
        yield (
            f"a cell of depth {own.depth} cannot start from cell {source.key}, "
            f"which was cut at {other.depth} {other.grain}s"
        )


def _run(plans: Sequence[Plan], site: Site, file: str) -> int:
    needed = [each for each in plans if each.left or each.probes]
    failures: list[Failure] = []
    if needed:
        _prepare([cell for each in needed for cell in each.sweep.cells], site)
        from sweeper import cluster  # Ray takes seconds to import: not for a plan, nor for a study that is done

        for each in needed:
            store.initialise(site, each.sweep.name)
        address = cluster.connect()
        _CONSOLE.print(f"Ray dashboard: {address}")
        try:
            for each in needed:
                failures += _run_sweep(each.sweep, site, {failure.cell.key for failure in failures})
        finally:
            cluster.disconnect()
    for each in plans:
        _report(each.sweep, site)
    _CONSOLE.print(f"MLflow:        mlflow ui --backend-store-uri {site.tracking}")
    if not failures:
        return 0
    _say_failures(failures, file)
    return 3


def _run_sweep(sweep: Sweep, site: Site, failed: set[str]) -> "list[Failure]":
    """Rates, cells and probes of one sweep; cells that start from others of it wait for them."""
    from sweeper import cluster, probes, tuning

    tags = _tags()
    failures: list[Failure] = []
    while True:
        done = store.finished(site, sweep.name)
        lost = failed | {failure.cell.key for failure in failures}
        pending = [cell for cell in sweep.cells if cell.key not in done and cell.key not in lost]
        if not pending:
            break
        orphans = [cell for cell in pending if source_key(cell) in lost]
        failures += [
            tuning.Failure(cell=cell, error=f"its source, cell {source_key(cell)}, failed") for cell in orphans
        ]
        waiting_for = {cell.key for cell in pending}
        ready = [cell for cell in pending if source_key(cell) not in waiting_for | lost]
        rates, without = tuning.find_rates(sweep, ready, site)
        failures += without
        failures += tuning.run_cells(sweep, [cell for cell in ready if cell.key in rates], rates, site, tags)
    if sweep.register:
        for cell in sweep.cells:
            if cell.key in done:
                store.register(site, sweep.register, cell.key, done[cell.key].run_id)
    devices = cluster.devices_of(sweep)
    probes.run_probes(sweep, done, site, slots=cluster.slots_of(devices), devices=devices)
    return failures


def _prepare(cells: Sequence[Cell], site: Site) -> None:
    """Decodes every data set once and makes every split, so that bad data is known before anything is trained."""
    from sweeper.data.cache import cached
    from sweeper.data.folds import split

    distinct = dict.fromkeys((cell.images.dataset, cell.images.size) for cell in cells)
    for name, size in distinct:
        images = cached(data.DATASETS[name], size, site)
        _CONSOLE.print(f"{name}: {len(images.index)} images at {size} px, fingerprint {images.fingerprint}")
        cuts = {(c.images.fold, c.images.fraction) for c in cells if (c.images.dataset, c.images.size) == (name, size)}
        for fold, fraction in sorted(cuts):
            split(images.index, fold=fold, fraction=fraction, name=name)


def _report(sweep: Sweep, site: Site) -> None:
    """Prints a study's table and writes its table and figure."""
    from analysis.report import report

    if not store.finished(site, sweep.name):
        return
    found = report(sweep.name, site.study(sweep.name), site)
    _CONSOLE.print(f"\n{sweep.name}\n{found.text}")
    for path in found.files:
        _CONSOLE.print(f"  {path}")


def _say_failures(failures: "Sequence[Failure]", file: str) -> None:
    print(f"\n{len(failures)} cells failed:", file=sys.stderr)
    for failure in failures:
        print(f"  {failure.cell.title()}: {failure.error.strip().splitlines()[-1]}", file=sys.stderr)
    print(f"Tracebacks stand in MLflow. To try them again: python -m sweeper.run {file}", file=sys.stderr)


def _tags() -> dict[str, str]:
    """What a result depends on besides its cell: the commit and the versions."""
    folder = Path(__file__).parent
    git = ["git", "-C", str(folder)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "status", "--porcelain", "--", "."], capture_output=True, text=True, check=False)
    commit = (head.stdout.strip() or "unknown") + ("+changes" if changed.stdout.strip() else "")
    packages = ("sweeper", "torch", "torchvision", "timm", "ray", "optuna", "mlflow", "numpy")
    return {"sweeper.commit": commit} | {f"sweeper.version.{name}": version(name) for name in packages}


def _as_table(plans: Sequence[Plan]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("study", "cells", "done", "left", "searches", "trials", "probes", "device time"):
        table.add_column(name, justify="left" if name == "study" else "right", no_wrap=True)
    for each in plans:
        total, left = len(each.sweep.cells), len(each.left)
        numbers = (total, total - left, left, each.searches, each.trials, each.probes)
        seconds = as_time(each.seconds) if left else "0:00"
        table.add_row(each.sweep.name, *map(str, numbers), seconds)
    return table


if __name__ == "__main__":
    for each in (signal.SIGINT, signal.SIGTERM):  # also where a shell or a job server has them ignored
        signal.signal(each, signal.default_int_handler)
    sys.exit(main())
