"""`python -m sweeper.run FILE [--small] [--plan]`: checks a study, says what is left of it, and does that.

Running the same file again is the resume.

Exit codes: 0 done, 1 error, 2 a mistake in the command or the study file, 3 cells failed, or a second stage waits for
them, 130 interrupted.
"""

import argparse
import signal
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from glob import iglob
from importlib import import_module
from multiprocessing.pool import ThreadPool
from typing import TYPE_CHECKING

from sweeper import fitness, last_start, owner, stages, store
from sweeper.grid import StudyError, Sweep, check, load
from sweeper.plan import AGAIN, Plan
from sweeper.problems import check_data, check_sources, probe_problems_of, problems
from sweeper.said import CONSOLE, say_failures, say_plans, say_results
from sweeper.site import Site
from sweeper.work import MANIFEST

if TYPE_CHECKING:
    from sweeper.gate import Judged
    from sweeper.job import Failure


@dataclass(frozen=True, kw_only=True)
class _Call:
    """How the command was called."""

    file: str
    command: str
    """That goes on where this one ends."""
    site: Site
    again: Collection[str]
    join: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one study file and returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sweeper.run",
        description="Runs a study file; the same command again goes on with it.",
        epilog=(__doc__ or "").strip().split("\n\n")[-1],
    )
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
        call = _Call(file=options.file, command=command, site=site, again=options.again, join=options.join)
        sweeps = load(options.file, small=options.small)
        check(sweeps, problems, probe_problems_of)
        check_sources(sweeps, site)
        fitness.refuse_unshared(site, CONSOLE.print)
        plans = stages.plans(sweeps, site, options.again)
        say_plans(plans)
        if not options.plan:
            return _run(sweeps, plans, call)
        check_data([each.sweep for each in plans if _is_left(each, site)], site)
        return 0
    except StudyError as mistakes:
        print(f"{options.file}:\n{mistakes}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nInterrupted. What is finished is kept; go on with: {command}", file=sys.stderr)
        return 130
    except (OSError, ValueError, LookupError, RuntimeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def _run(sweeps: Sequence[Sweep], plans: Sequence[Plan], call: _Call) -> int:
    """Does what is left, and says what came of it."""
    site = call.site
    needed = [each for each in plans if _is_left(each, site)]
    failures = _do(needed, sweeps, plans, call) if needed else []
    ended = stages.plans(sweeps, site)
    for each in ended:
        if not each.waits:
            say_results(each.sweep, site)
    server = site.tracking.startswith("http")
    CONSOLE.print(f"MLflow:        {'' if server else 'mlflow ui --backend-store-uri '}{site.tracking}")
    known = {failure.cell.key for failure in failures}
    left = [cell for each in ended for cell in each.failed if cell.key not in known]
    waiting = [each for each in ended if each.waits]
    say_failures(failures, left, waiting, call.command)
    return 3 if failures or left or waiting else 0


def _do(needed: Sequence[Plan], sweeps: Sequence[Sweep], plans: Sequence[Plan], call: _Call) -> "list[Failure]":
    """Has each study of the file done in turn, on Ray; the cells that failed come back.

    Args:
        needed: those of `plans` of which anything is left.
    """
    failures: list[Failure] = []
    fitness.refuse_unfit(call.site.storage)
    judged = _judge([each.sweep for each in needed], call.site)
    aside = ThreadPool(1)  # whose thread no exit waits for
    opened = aside.apply_async(lambda: (_open(needed, judged, call), import_module("sweeper.study")))
    from sweeper import cluster  # Ray takes seconds to import: not for a plan, nor for a study that is done
    from sweeper.cluster.places import check_places

    CONSOLE.print(f"Ray dashboard: {cluster.connect()}")
    try:
        gpus = any(each.sweep.gpus_per_cell != 0 for each in needed)
        check_places(call.site, gpus=gpus, say=CONSOLE.print)
        opened.get()
        from sweeper.study import run_study

        aside.apply_async(import_module, ["analysis.report"])  # takes seconds, which cells have too
        for now in _in_order(sweeps, plans, call):
            if _is_left(now, call.site):
                lost = {failure.cell.key for failure in failures}
                failures += run_study(now.sweep, call.site, call.again, lost, partial(_begin, now, call))
    finally:
        cluster.disconnect()
    return failures


def _in_order(sweeps: Sequence[Sweep], plans: Sequence[Plan], call: _Call) -> Iterator[Plan]:
    """The plan of each sweep; one that waits is planned once more when those before it have run."""
    for number, planned in enumerate(plans):
        if not planned.waits:
            yield planned
            continue
        now = stages.plans(sweeps, call.site, call.again)[number]
        if not now.waits:
            say_plans([now])
            _record_splits(_judge([now.sweep], call.site), call)
            yield now


def _is_left(planned: Plan, site: Site) -> bool:
    """Whether anything is left to do of a sweep whose cells are known."""
    if planned.waits:
        return False
    return bool(planned.left or planned.probes or _unrecorded(planned.sweep, site))


def _begin(now: Plan, call: _Call) -> None:
    """Says whose a study is and what it is begun for, once nobody else works on it."""
    owner.claim(now, call.file, call.site, join=call.join)
    if now.left:
        last_start.record(now, call.file, call.command, call.site)


def _unrecorded(sweep: Sweep, site: Site) -> bool:
    """Whether trained cells still wait on disk to be recorded."""
    return any(iglob(f"work-*/*/{MANIFEST}", root_dir=site.study(sweep.name)))  # pathlib's fails on a folder that goes


def _judge(sweeps: Sequence[Sweep], site: Site) -> "dict[str, list[Judged]]":
    """Decodes every data set once and makes every split, so that bad data is known before anything is started."""
    from sweeper import gate  # pandas, which the plan's table does without

    return gate.judge(sweeps, site, CONSOLE.print)


def _open(plans: Sequence[Plan], judged: "Mapping[str, list[Judged]]", call: _Call) -> None:
    """Refuses names that are other search spaces', and makes the record of the rest; importing MLflow takes seconds."""
    for each in plans:
        owner.refuse_clash(each, call.file, call.site, join=call.join)
    _record_splits(judged, call)


def _record_splits(judged: "Mapping[str, list[Judged]]", call: _Call) -> None:
    from sweeper import gate

    for study, splits in judged.items() if "stale" not in call.again else ():
        gate.refuse_changed(splits, call.site, study)
    for study, splits in judged.items():
        store.initialise(call.site, study)
        gate.record(splits, call.site, study)


if __name__ == "__main__":
    for each in (signal.SIGINT, signal.SIGTERM):  # also where a shell or a job server has them ignored
        signal.signal(each, signal.default_int_handler)
    sys.exit(main())
