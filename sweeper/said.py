"""What the command says to the person who started it: plans, where the time went, results, failures.

What happens meanwhile is shown by `live`.
"""

import shlex
import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from sweeper import ledger, store
from sweeper.cell import Cell
from sweeper.grid import Sweep
from sweeper.plan import Plan, as_table
from sweeper.site import Site

if TYPE_CHECKING:
    from sweeper.job import Failure, Spent

CONSOLE = Console(markup=False, highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)


def say_plans(plans: Sequence[Plan]) -> None:
    """Prints what is left of each sweep, what has changed, and what waits."""
    CONSOLE.print(as_table(plans))
    for each in plans:
        for sentence in (*each.changes, *filter(None, [each.waits])):
            CONSOLE.print(f"{each.sweep.name}: {sentence}")


def overhead(spent: "Spent", wall: float, slots: Collection[int]) -> str:
    """Where the time went, in a sentence: what was not training or evaluation is overhead, of the slots that had a job.

    Args:
        slots: all numbers of slots that there were; with several of them the overhead is not known.
    """
    count = spent.cells + spent.trials
    told = (
        f"{spent.cells} cells and {spent.trials} rate trials in {wall:.1f} s on {'up to ' * (len(slots) > 1)}"
        f"{max(slots)} slots, {spent.seconds:.1f} s of training and evaluation"
    )
    rest = (wall * min(max(slots), count) - spent.seconds) / max(count, 1)
    return told if len(slots) > 1 else f"{told}; overhead {rest:.2f} s each"


def say_results(sweep: Sweep, site: Site) -> None:
    """Prints a study's table and writes its table and figure."""
    from analysis.report import report

    if not ledger.read(site, sweep.name).finished:
        return
    found = store.patiently(lambda: report(sweep.name, site.study(sweep.name), site), site)
    CONSOLE.print(f"\n{sweep.name}\n{found.text}")
    for path in found.files:
        CONSOLE.print(f"  {path}")
    # the page is not made here: its resamples grow with the square of the settings
    CONSOLE.print(f"As a page that answers the question: python -m analysis.report {shlex.quote(sweep.name)}")


def say_failures(failures: "Sequence[Failure]", left: Sequence[Cell], waiting: Sequence[Plan], command: str) -> None:
    """Prints which cells failed now, how many did before, and which sweeps were not run; nothing if there is none."""
    if failures:
        print(f"\n{len(failures)} cells failed:", file=sys.stderr)
    for failure in failures:
        print(f"  {failure.cell.title()}: {failure.error.strip().splitlines()[-1]}", file=sys.stderr)
    if left:
        print(f"\n{len(left)} cells failed before and were not run again.", file=sys.stderr)
    for each in waiting:
        print(f"\n{each.sweep.name} was not run: {each.waits}.", file=sys.stderr)
    if failures or left:
        print(f"Tracebacks stand in MLflow. To try them again: {command} --again failed", file=sys.stderr)
