"""What is left of all sweeps of a file, those included whose cells depend on the finished cells of another.

Such a sweep is waited for until the one before it is finished; its cells are then made anew from the record at each
run, so that nothing of the choice is stored. It trains nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sweeper import ledger
from sweeper.choosing import with_cells
from sweeper.grid import Sweep, check
from sweeper.ledger import Records
from sweeper.plan import Plan, plan, unknown
from sweeper.problems import check_sources, probe_problems_of, problems
from sweeper.site import Site


def plans(sweeps: Sequence[Sweep], site: Site, again: Collection[str] = ()) -> list[Plan]:
    """What is left of each sweep, in order.

    Args:
        again: as in `plan`.

    Raises:
        StudyError: when the cells that a sweep chooses are wrong.
    """
    found: dict[str, Plan] = {}
    for sweep in sweeps:
        found[sweep.name] = _plan(sweep, found, site, again)
    return list(found.values())


def _plan(sweep: Sweep, found: Mapping[str, Plan], site: Site, again: Collection[str]) -> Plan:
    if sweep.after is None:
        return plan(sweep, site, again)
    before = found[sweep.after.name]
    waits = _waits(before)
    if waits:
        return unknown(sweep, waits)
    chosen = with_cells(sweep, validation_rows(before.sweep, before.records, site))
    check([chosen], problems, probe_problems_of)
    check_sources([*(each.sweep for each in found.values()), chosen], site)
    return plan(chosen, site, again)


def _waits(before: Plan) -> str | None:
    """Why nothing can be chosen from a sweep yet."""
    name = before.sweep.name
    if before.waits:
        return f"its cells are chosen when all of '{name}' are finished, whose own cells are not chosen yet"
    missing = {cell.key for cell in (*before.left, *before.failed, *before.stale)}
    if missing:
        count = len(before.sweep.cells)
        return f"its cells are chosen when all of '{name}' are finished: {len(missing)} of {count} are missing"
    return None


def validation_rows(sweep: Sweep, records: Records, site: Site) -> list[dict[str, Any]]:
    """A row for each finished cell of a sweep, in the order of its cells, as `Sweep.choose` takes them."""
    numbers = ledger.validation_numbers(site, sweep.name)
    found = [(cell, records.finished[cell.key]) for cell in sweep.cells if cell.key in records.finished]
    return [
        {"key": cell.key} | cell.row() | {"lr_found": record.lr_found} | dict(sorted(numbers[record.run_id].items()))
        for cell, record in found
    ]
