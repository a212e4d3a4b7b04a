"""`python -m sweeper.run FILE [--small] [--plan]`: checks a study, says what is left of it, and does that.

Running the same file again is the resume. Exit codes: 0 done, 1 error, 2 a mistake in the command or the study file,
3 finished with failed cells, 130 interrupted.
"""

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from glob import iglob
from importlib import import_module
from importlib.metadata import version
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper import asked, ledger, owner, stages, store
from sweeper.grid import StudyError, Sweep, check, load
from sweeper.live import shown
from sweeper.pairing import asks
from sweeper.plan import AGAIN, Plan, attempts, known_costs, plan
from sweeper.problems import check_sources, probe_problems_of, problems
from sweeper.said import CONSOLE, overhead, say_failures, say_plans, say_results
from sweeper.site import Site
from sweeper.work import MANIFEST, take_over

if TYPE_CHECKING:
    from sweeper.gate import Judged
    from sweeper.job import Failure
    from sweeper.outcome import Devices
    from sweeper.recording import Recorder
    from sweeper.shares import Share

_TUNING = "sweeper.tuning"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one study file and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sweeper.run", description="Runs a study file.")
    parser.add_argument("file", help="a search space, such as search_spaces/quickstart.py")
    parser.add_argument("--small", action="store_true", help="the study's small form, which any machine can run")
    parser.add_argument("--plan", action="store_true", help="say what is left to do, and do nothing")
    parser.add_argument(
        "--again",
        choices=AGAIN,
        nargs="+",
        default=(),
        help="also run cells that failed by their own fault, or finished cells whose images have changed since",
    )
    parser.add_argument("--join", action="store_true", help="add cells to a study that another file has begun")
    options = parser.parse_args(arguments)
    command = f"python -m sweeper.run {options.file}{' --small' if options.small else ''}"
    try:
        site = Site.from_environment()
        sweeps = load(options.file, small=options.small)
        check(sweeps, problems, probe_problems_of)
        check_sources(sweeps, site)
        plans = stages.plans(sweeps, site, options.again)
        say_plans(plans)
        if options.plan:
            return 0
        return _run(sweeps, plans, site, options.file, command, options.again, options.join)
    except StudyError as mistakes:
        print(f"{options.file}:\n{mistakes}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nInterrupted. What is finished is kept; go on with: {command}", file=sys.stderr)
        return 130
    except (OSError, ValueError, LookupError, RuntimeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def _run(
    sweeps: Sequence[Sweep],
    plans: Sequence[Plan],
    site: Site,
    file: str,
    command: str,
    again: Collection[str],
    join: bool,
) -> int:
    failures: list[Failure] = []
    needed = [each for each in plans if _is_left(each, site)]
    if needed:
        judged = _judge([each.sweep for each in needed], site)
        aside = ThreadPool(1)  # whose thread no exit waits for
        opened = aside.apply_async(lambda: (_open(needed, judged, file, site, again, join), import_module(_TUNING)))
        from sweeper import cluster  # Ray takes seconds to import: not for a plan, nor for a study that is done
        from sweeper.cluster.places import check_places

        CONSOLE.print(f"Ray dashboard: {cluster.connect()}")
        try:
            check_places(site, CONSOLE.print)
            opened.get()
            aside.apply_async(import_module, ["analysis.report"])  # takes seconds, which cells have too
            for now in _in_order(sweeps, plans, site, again):
                if _is_left(now, site):
                    begin = partial(_begin, now, file, command, site, join)
                    failures += _run_sweep(now.sweep, site, again, {failure.cell.key for failure in failures}, begin)
        finally:
            cluster.disconnect()
    ended = stages.plans(sweeps, site)
    for each in ended:
        if not each.waits:
            say_results(each.sweep, site)
    server = site.tracking.startswith("http")
    CONSOLE.print(f"MLflow:        {'' if server else 'mlflow ui --backend-store-uri '}{site.tracking}")
    known = {failure.cell.key for failure in failures}
    left = [cell for each in ended for cell in each.failed if cell.key not in known]
    waiting = [each for each in ended if each.waits]
    say_failures(failures, left, waiting, command)
    return 3 if failures or left or waiting else 0


def _in_order(sweeps: Sequence[Sweep], plans: Sequence[Plan], site: Site, again: Collection[str]) -> Iterator[Plan]:
    """The plan of each sweep; one that waits is planned once more when those before it have run."""
    for number, planned in enumerate(plans):
        if not planned.waits:
            yield planned
            continue
        now = stages.plans(sweeps, site, again)[number]
        if not now.waits:
            say_plans([now])
            _record_splits(_judge([now.sweep], site), site, again)
            yield now


def _is_left(planned: Plan, site: Site) -> bool:
    """Whether anything is left to do of a sweep whose cells are known."""
    if planned.waits:
        return False
    return bool(planned.left or planned.probes or _unrecorded(planned.sweep, site))


def _begin(now: Plan, file: str, command: str, site: Site, join: bool) -> None:
    """Says whose a study is and what it is begun for, once nobody else works on it."""
    owner.claim(now, file, site, join=join)
    if now.left:
        asked.record(now, file, command, site)


def _run_sweep(
    sweep: Sweep, site: Site, again: Collection[str], lost: set[str], begin: Callable[[], None]
) -> "list[Failure]":
    """Rates, cells and probes of one sweep, for which this driver alone has the lease.

    Args:
        lost: cells of earlier sweeps that failed, whose heirs are given up.
        begin: called as soon as it has the lease.
    """
    from sweeper import shares
    from sweeper.lease import acquire
    from sweeper.rates import Searches
    from sweeper.recording import Recorder, record_searches

    devices = shares.devices_of(sweep, site, CONSOLE.print)
    share = shares.Share(devices, CONSOLE.print)
    failures: list[Failure] = []
    with acquire(site.study(sweep.name), say=CONSOLE.print) as lease:
        begin()
        work = take_over(site.study(sweep.name), lease.token)
        store.patiently(lambda: store.drop_unfinished(site, sweep.name), site)
        with Recorder(site, sweep.name, work, lease.check) as recorder:
            recorder.flush()
            now = plan(sweep, site, again)
            _refuse_stale(now, again)
            _forget_pairs(now, site)
            for cell in set(now.left) & set(now.stale):
                store.patiently(partial(store.forget, site, now.records.finished[cell.key].run_id), site)
            if now.left:
                failures = _train(now, site, again, lost, recorder, lease.check, work, devices, share)
        searches = Searches(sweep.cells, site.study(sweep.name) / "rates.db")
        missed = partial(record_searches, searches, site, sweep.name, tags=_tags(), check_lease=lease.check)
        store.patiently(missed, site)
        done = ledger.read(site, sweep.name).finished
        if sweep.register:
            for cell in sweep.cells:
                if cell.key in done:
                    name, run_id = sweep.register, done[cell.key].run_id
                    store.patiently(partial(store.register, site, name, cell.key, run_id), site)
        if sweep.probes:
            from sweeper import probes  # torch, which a driver does without where nothing is probed

            slots = share.slots(len(sweep.cells))
            probes.run_probes(sweep, done, site, slots=slots, devices=devices, work=work, check_lease=lease.check)
    share.leave()
    return failures


def _forget_pairs(now: Plan, site: Site) -> None:
    """Takes out the rows of pairs whose second cell is trained anew, so that they are compared anew."""
    redone = {cell.key for cell in set(now.left) & set(now.stale)}
    for ask in asks(now.sweep.cells, now.sweep.probes) if redone else ():
        record = now.records.finished.get(ask.cell.key)
        if record and ask.other and ask.other.key in redone and ask.key in record.probes:
            store.patiently(partial(store.forget_probe, site, record.run_id, ask.key), site)


def _train(
    now: Plan,
    site: Site,
    again: Collection[str],
    lost: set[str],
    recorder: "Recorder",
    check_lease: Callable[[], None],
    work: Path,
    devices: "Devices",
    share: "Share",
) -> "list[Failure]":
    """Finds the rates of a sweep's cells and trains them; those that failed come back."""
    from sweeper import tuning
    from sweeper.gauges import exported
    from sweeper.job import Orders
    from sweeper.jobs import Jobs
    from sweeper.rates import Searches
    from sweeper.stopping import StorageFullError

    sweep = now.sweep
    titles = {f"{sweep.name}: rate trials": now.trials, f"{sweep.name}: cells": len(now.left)}
    began = time.monotonic()
    with shown(titles) as (trials, cells):
        jobs = Jobs(
            now.left,
            Orders(study=sweep.name, site=site, work=work, devices=devices, tags=_tags()),
            searches=Searches(sweep.cells, site.study(sweep.name) / "rates.db"),
            recorder=recorder,
            costs=known_costs(now.records),
            slots=share.slots(len(now.left)),
            attempts=attempts(now.records, again),
            lost=lost | {cell.key for cell in now.failed},
            progress=(trials, cells),
            check_lease=check_lease,
        )
        with exported(sweep.name, trials, cells, jobs, work):
            tuning.run_jobs(jobs, devices, share.slots, work)
        if not isinstance(jobs.stopped, StorageFullError):  # else it would wait for room
            recorder.flush()
    if jobs.stopped:
        raise jobs.stopped
    CONSOLE.print(f"{sweep.name}: {overhead(jobs.spent, time.monotonic() - began, share.given)}")
    return jobs.failures


def _unrecorded(sweep: Sweep, site: Site) -> bool:
    """Whether trained cells still wait on disk to be recorded."""
    return any(iglob(f"work-*/*/{MANIFEST}", root_dir=site.study(sweep.name)))  # pathlib's fails on a folder that goes


def _refuse_stale(now: Plan, again: Collection[str]) -> None:
    if now.stale and "stale" not in again:
        raise ValueError(
            f"study '{now.sweep.name}': {now.changes[0]}; put back what was there, name the study anew, "
            "or train these cells again with --again stale"
        )


def _judge(sweeps: Sequence[Sweep], site: Site) -> "dict[str, list[Judged]]":
    """Decodes every data set once and makes every split, so that bad data is known before anything is started."""
    from sweeper import gate  # pandas, which a plan does without

    return gate.judge(sweeps, site, CONSOLE.print)


def _open(
    plans: Sequence[Plan],
    judged: "Mapping[str, list[Judged]]",
    file: str,
    site: Site,
    again: Collection[str],
    join: bool,
) -> None:
    """Refuses names that are other search spaces', and makes the record of the rest; importing MLflow takes seconds."""
    for each in plans:
        owner.refuse_clash(each, file, site, join=join)
    _record_splits(judged, site, again)


def _record_splits(judged: "Mapping[str, list[Judged]]", site: Site, again: Collection[str]) -> None:
    from sweeper import gate

    for study, splits in judged.items() if "stale" not in again else ():
        gate.refuse_changed(splits, site, study)
    for study, splits in judged.items():
        store.initialise(site, study)
        gate.record(splits, site, study)


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
