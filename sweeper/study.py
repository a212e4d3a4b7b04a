"""One study from its lease to its probes: rates, cells, what is recorded of them, and what is asked of them.

Which studies a file has, and what must be so before one begins, is `run`'s business; Ray has been joined by then.
"""

import subprocess
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from sweeper import ledger, shares, store, tuning
from sweeper.gauges import exported
from sweeper.grid import Sweep
from sweeper.job import Failure, Orders
from sweeper.jobs import Jobs
from sweeper.lease import acquire
from sweeper.ledger import Finished
from sweeper.live import shown
from sweeper.outcome import Devices
from sweeper.pairing import asks
from sweeper.plan import Plan, attempts, known_costs, plan
from sweeper.promise import by_promise
from sweeper.rates import Searches
from sweeper.recording import Recorder, record_searches
from sweeper.said import CONSOLE, overhead
from sweeper.site import Site
from sweeper.stopping import StorageError
from sweeper.work import take_over


@dataclass(frozen=True, kw_only=True)
class _Study:
    """A study that this driver holds, and what it may use for it."""

    sweep: Sweep
    site: Site
    work: Path
    """The folder of work in flight."""
    devices: Devices
    share: shares.Share
    check_lease: Callable[[], None]


def run_study(
    sweep: Sweep, site: Site, again: Collection[str], lost: Collection[str], begin: Callable[[], None]
) -> list[Failure]:
    """Does all that is left of one study, for which this driver alone has the lease; the cells that failed come back.

    Args:
        again: as in `plan`.
        lost: keys of cells of earlier studies that failed, whose heirs are given up.
        begin: called as soon as it has the lease.
    """
    devices = shares.devices_of(sweep, site, CONSOLE.print)
    share = shares.Share(devices, CONSOLE.print)
    with acquire(site.study(sweep.name), say=CONSOLE.print) as lease:
        begin()
        work = take_over(site.study(sweep.name), lease.token)
        own = _Study(sweep=sweep, site=site, work=work, devices=devices, share=share, check_lease=lease.check)
        store.patiently(lambda: store.drop_unfinished(site, sweep.name), site)
        failures = _train_left(own, again, lost)
        _record_searches(own)
        done = ledger.read(site, sweep.name).finished
        _register(own, done)
        _ask_probes(own, done)
    share.leave()
    return failures


def _train_left(own: _Study, again: Collection[str], lost: Collection[str]) -> list[Failure]:
    """Records what waits on disk, then trains what is left by the record that is now."""
    sweep, site = own.sweep, own.site
    with Recorder(site, sweep.name, own.work, own.check_lease) as recorder:
        recorder.flush()
        now = plan(sweep, site, again)
        _refuse_stale(now, again)
        _forget_pairs(now, site)
        for cell in set(now.left) & set(now.stale):
            store.patiently(partial(store.forget, site, now.records.finished[cell.key].run_id), site)
        return _train(own, now, recorder, again, lost) if now.left else []


def _refuse_stale(now: Plan, again: Collection[str]) -> None:
    if now.stale and "stale" not in again:
        raise ValueError(
            f"study '{now.sweep.name}': {now.changes[0]}; put back what was there, name the study anew, "
            "or train these cells again with --again stale"
        )


def _forget_pairs(now: Plan, site: Site) -> None:
    """Takes out the rows of pairs whose second cell is trained anew, so that they are compared anew."""
    redone = {cell.key for cell in set(now.left) & set(now.stale)}
    for ask in asks(now.sweep.cells, now.sweep.probes) if redone else ():
        record = now.records.finished.get(ask.cell.key)
        if record and ask.other and ask.other.key in redone and ask.key in record.probes:
            store.patiently(partial(store.forget_probe, site, record.run_id, ask.key), site)


def _train(own: _Study, now: Plan, recorder: Recorder, again: Collection[str], lost: Collection[str]) -> list[Failure]:
    """Finds the rates of a study's cells and trains them; those that failed come back."""
    sweep, site, share = own.sweep, own.site, own.share
    titles = {f"{sweep.name}: rate trials": now.trials, f"{sweep.name}: cells": len(now.left)}
    began = time.monotonic()
    with shown(titles) as (trials, cells):
        jobs = Jobs(
            by_promise(now.left, sweep, now.records.finished, site),
            Orders(study=sweep.name, site=site, work=own.work, devices=own.devices, tags=_tags()),
            searches=_searches(own),
            recorder=recorder,
            costs=known_costs(now.records),
            slots=share.slots(len(now.left)),
            attempts=attempts(now.records, again),
            lost={*lost, *(cell.key for cell in now.failed)},
            progress=(trials, cells),
            check_lease=own.check_lease,
        )
        with exported(sweep.name, trials, cells, jobs, own.work):
            tuning.run_jobs(jobs, own.devices, share.slots, own.work)
        if not isinstance(jobs.stopped, StorageError):  # else it would wait for room
            recorder.flush()
    if jobs.stopped:
        raise jobs.stopped
    CONSOLE.print(f"{sweep.name}: {overhead(jobs.spent, time.monotonic() - began, share.given)}")
    return jobs.failures


def _searches(own: _Study) -> Searches:
    return Searches(own.sweep.cells, own.site.study(own.sweep.name) / "rates.db")


def _record_searches(own: _Study) -> None:
    """Records those that an earlier driver ended and could not record."""
    missed = partial(
        record_searches, _searches(own), own.site, own.sweep.name, tags=_tags(), check_lease=own.check_lease
    )
    store.patiently(missed, own.site)


def _register(own: _Study, done: Mapping[str, Finished]) -> None:
    """Makes each finished cell a version of the registered model, if the study names one."""
    name, site = own.sweep.register, own.site
    if not name:
        return
    for cell in own.sweep.cells:
        if cell.key in done:
            store.patiently(partial(store.register, site, name, cell.key, done[cell.key].run_id), site)


def _ask_probes(own: _Study, done: Mapping[str, Finished]) -> None:
    sweep = own.sweep
    if not sweep.probes:
        return
    from sweeper import probes  # torch, which a driver does without where nothing is probed

    slots = own.share.slots(len(sweep.cells))
    probes.run_probes(
        sweep, done, own.site, slots=slots, devices=own.devices, work=own.work, check_lease=own.check_lease
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
