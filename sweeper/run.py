"""`python -m sweeper.run FILE [--plan]`: checks a study, says what is left of it, and does that.

Running the same file again is the resume. Exit codes: 0 done, 1 error, 2 a mistake in the command or the study file,
3 finished with failed cells, 130 interrupted.
"""

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from sweeper import data, ledger, store
from sweeper.cell import Cell
from sweeper.grid import StudyError, Sweep, check, load
from sweeper.live import shown
from sweeper.plan import AGAIN, Plan, as_table, attempts, known_costs, plan
from sweeper.problems import check_sources, problems
from sweeper.site import Site
from sweeper.work import MANIFEST, take_over

if TYPE_CHECKING:
    from sweeper.job import Failure, Spent
    from sweeper.recording import Recorder

_CONSOLE = Console(markup=False, highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one study file and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sweeper.run", description="Runs a study file.")
    parser.add_argument("file", help="a search space, such as search_spaces/quickstart.py")
    parser.add_argument("--plan", action="store_true", help="say what is left to do, and do nothing")
    parser.add_argument(
        "--again",
        choices=AGAIN,
        nargs="+",
        default=(),
        help="also run cells that failed by their own fault, or finished cells whose images have changed since",
    )
    options = parser.parse_args(arguments)
    site = Site.from_environment()
    try:
        sweeps = load(options.file)
        check(sweeps, problems)
        check_sources(sweeps, site)
        plans = [plan(sweep, site, options.again) for sweep in sweeps]
        _say(plans)
        if options.plan:
            return 0
        return _run(plans, site, options.file, options.again)
    except StudyError as mistakes:
        print(f"{options.file}:\n{mistakes}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"\nInterrupted. What is finished is kept; go on with: python -m sweeper.run {options.file}",
            file=sys.stderr,
        )
        return 130
    except (OSError, ValueError, LookupError, RuntimeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def _run(plans: Sequence[Plan], site: Site, file: str, again: Collection[str]) -> int:
    failures: list[Failure] = []
    needed = [each.sweep for each in plans if each.left or each.probes or _unrecorded(each.sweep, site)]
    if needed:
        _prepare([cell for sweep in needed for cell in sweep.cells], site)
        from sweeper import cluster  # Ray takes seconds to import: not for a plan, nor for a study that is done

        for sweep in needed:
            store.initialise(site, sweep.name)
        _CONSOLE.print(f"Ray dashboard: {cluster.connect()}")
        try:
            for sweep in needed:
                failures += _run_sweep(sweep, site, again, {failure.cell.key for failure in failures})
        finally:
            cluster.disconnect()
    for each in plans:
        _report(each.sweep, site)
    _CONSOLE.print(f"MLflow:        mlflow ui --backend-store-uri {site.tracking}")
    known = {failure.cell.key for failure in failures}
    left = [cell for each in plans for cell in plan(each.sweep, site).failed if cell.key not in known]
    _say_failures(failures, left, file)
    return 3 if failures or left else 0


def _run_sweep(sweep: Sweep, site: Site, again: Collection[str], lost: set[str]) -> "list[Failure]":
    """Rates, cells and probes of one sweep, for which this driver alone has the lease.

    Args:
        lost: cells of earlier sweeps that failed, whose heirs are given up.
    """
    from sweeper import cluster, probes
    from sweeper.lease import acquire
    from sweeper.recording import Recorder

    devices = cluster.devices_of(sweep)
    with acquire(site.study(sweep.name), say=_CONSOLE.print) as lease:
        work = take_over(site.study(sweep.name), lease.token)
        store.patiently(lambda: store.drop_unfinished(site, sweep.name), site)
        with Recorder(site, sweep.name, work, lease.check) as recorder:
            recorder.flush()
            now = plan(sweep, site, again)
            _refuse_stale(now, again)
            for cell in set(now.left) & set(now.stale):
                store.patiently(partial(store.forget, site, now.records.finished[cell.key].run_id), site)
            failures = _train(now, site, again, lost, recorder, lease.check, work) if now.left else []
        done = ledger.read(site, sweep.name).finished
        if sweep.register:
            for cell in sweep.cells:
                if cell.key in done:
                    name, run_id = sweep.register, done[cell.key].run_id
                    store.patiently(partial(store.register, site, name, cell.key, run_id), site)
        probes.run_probes(
            sweep, done, site, slots=cluster.slots_of(devices), devices=devices, work=work, check_lease=lease.check
        )
    return failures


def _train(
    now: Plan,
    site: Site,
    again: Collection[str],
    lost: set[str],
    recorder: "Recorder",
    check_lease: Callable[[], None],
    work: Path,
) -> "list[Failure]":
    """Finds the rates of a sweep's cells and trains them; those that failed come back."""
    from sweeper import cluster, tuning
    from sweeper.job import Orders
    from sweeper.jobs import Jobs, StorageFullError
    from sweeper.rates import Searches

    sweep = now.sweep
    devices = cluster.devices_of(sweep)
    slots = cluster.slots_of(devices)
    titles = {f"{sweep.name}: rate trials": now.trials, f"{sweep.name}: cells": len(now.left)}
    began = time.monotonic()
    with shown(titles) as (trials, cells):
        jobs = Jobs(
            now.left,
            Orders(study=sweep.name, site=site, work=work, devices=devices, tags=_tags()),
            searches=Searches(sweep.cells, site.study(sweep.name) / "rates.db"),
            recorder=recorder,
            costs=known_costs(now.records),
            slots=slots,
            attempts=attempts(now.records, again),
            lost=lost | {cell.key for cell in now.failed},
            progress=(trials, cells),
            check_lease=check_lease,
        )
        tuning.run_jobs(jobs, devices, slots, work)
        if not isinstance(jobs.stopped, StorageFullError):  # else it would wait for room
            recorder.flush()
    if jobs.stopped:
        raise jobs.stopped
    _CONSOLE.print(f"{sweep.name}: {_overhead(jobs.spent, time.monotonic() - began, slots)}")
    return jobs.failures


def _overhead(spent: "Spent", wall: float, slots: int) -> str:
    """Where the time went, in a sentence: what was not training or evaluation is overhead."""
    count = spent.cells + spent.trials
    rest = (wall * slots - spent.seconds) / max(count, 1)
    return (
        f"{spent.cells} cells and {spent.trials} rate trials in {wall:.1f} s on {slots} slots, "
        f"{spent.seconds:.1f} s of training and evaluation; overhead {rest:.2f} s each"
    )


def _unrecorded(sweep: Sweep, site: Site) -> bool:
    """Whether trained cells still wait on disk to be recorded."""
    return any(site.study(sweep.name).glob(f"work-*/*/{MANIFEST}"))


def _refuse_stale(now: Plan, again: Collection[str]) -> None:
    if now.stale and "stale" not in again:
        raise ValueError(
            f"study '{now.sweep.name}': {now.changes[0]}; put the images back, name the study anew, "
            "or train these cells again with --again stale"
        )


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

    if not ledger.read(site, sweep.name).finished:
        return
    found = store.patiently(lambda: report(sweep.name, site.study(sweep.name), site), site)
    _CONSOLE.print(f"\n{sweep.name}\n{found.text}")
    for path in found.files:
        _CONSOLE.print(f"  {path}")


def _say(plans: Sequence[Plan]) -> None:
    _CONSOLE.print(as_table(plans))
    for each in plans:
        for change in each.changes:
            _CONSOLE.print(f"{each.sweep.name}: {change}")


def _say_failures(failures: "Sequence[Failure]", left: Sequence[Cell], file: str) -> None:
    if failures:
        print(f"\n{len(failures)} cells failed:", file=sys.stderr)
    for failure in failures:
        print(f"  {failure.cell.title()}: {failure.error.strip().splitlines()[-1]}", file=sys.stderr)
    if left:
        print(f"\n{len(left)} cells failed before and were not run again.", file=sys.stderr)
    if failures or left:
        print(
            f"Tracebacks stand in MLflow. To try them again: python -m sweeper.run {file} --again failed",
            file=sys.stderr,
        )


def _tags() -> dict[str, str]:
    """What a result depends on besides its cell: the commit and the versions."""
    folder = Path(__file__).parent
    git = ["git", "-C", str(folder)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "status", "--porcelain", "--", "."], capture_output=True, text=True, check=False)
    commit = (head.stdout.strip() or "unknown") + ("+changes" if changed.stdout.strip() else "")
    packages = ("sweeper", "torch", "torchvision", "timm", "ray", "optuna", "mlflow", "numpy")
    return {"sweeper.commit": commit} | {f"sweeper.version.{name}": version(name) for name in packages}


if __name__ == "__main__":
    for each in (signal.SIGINT, signal.SIGTERM):  # also where a shell or a job server has them ignored
        signal.signal(each, signal.default_int_handler)
    sys.exit(main())
