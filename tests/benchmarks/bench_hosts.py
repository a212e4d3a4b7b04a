"""The same study on 1, 2 and 4 hosts of one core each, against the ideal: as many times faster as there are hosts.

    python tests/benchmarks/bench_hosts.py [--hosts 1 2 4] [--cells 60] [--epochs 150] [--repeats 3]

Each worker is a host with a core of its own (`tests/cluster/hosts.py`; needs root). The head, with the driver, MLflow
and PostgreSQL, shares the last core with the last worker where there are as many workers as cores, and else has one
that no worker has. Two times are printed: of the whole command, and of the cells alone, which the command says
itself. Times are printed and never judged.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "cluster")]

from hosts import SHARED, lacking  # noqa: E402
from lab import Lab, lab  # noqa: E402

STUDY = """
from sweeper import Sweep, grid
cells = grid(dataset="digits_5_9", model="cbr_mini", size=16, epochs={epochs}, augment="flip", fold=1, lr=3e-3,
             seed=range({cells}))
sweep = Sweep(name="{name}", cells=cells)
"""
_SAID = re.compile(r"(\d+) cells and \d+ rate trials in ([\d.]+) s on (?:up to )?(\d+) slots, ([\d.]+) s of training")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--cells", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if why := lacking():
        sys.exit(why)
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} before the start", flush=True)
    commands: dict[int, list[float]] = {}
    alone: dict[int, list[float]] = {}
    for hosts in options.hosts:
        with (
            tempfile.TemporaryDirectory(prefix="hosts-") as folder,
            lab(Path(folder), workers=hosts, pinned=True) as here,
        ):
            here.up([host for name, host in here.network.hosts.items() if name != "host1"])
            found = [_run(here, f"bench{number}", options.cells, options.epochs) for number in range(options.repeats)]
            here.down()
        commands[hosts], alone[hosts] = [wall for wall, _ in found], [cells for _, cells in found]
        _say(f"{hosts} hosts: whole command, s", commands[hosts])
        _say(f"{hosts} hosts: its cells, s", alone[hosts])
        print(f"  load {os.getloadavg()[0]:.1f}", flush=True)
    for name, walls in (("whole command", commands), ("cells alone", alone)):
        _compare(name, walls)


def _run(here: Lab, name: str, cells: int, epochs: int) -> tuple[float, float]:
    """Seconds of a whole command, and of its cells."""
    (here.network.shared / f"{name}.py").write_text(STUDY.format(name=name, cells=cells, epochs=epochs))
    log = here.desk / f"{name}.log"
    began = time.monotonic()
    code = here.start(f"cd ~/sweeper && python -m sweeper.run {SHARED}/{name}.py", log).wait()
    wall = time.monotonic() - began
    said = _SAID.search(log.read_text())
    if code or not said:
        sys.exit(log.read_text())
    return wall, float(said[2])


def _compare(name: str, walls: dict[int, list[float]]) -> None:
    """Prints by how much of the ideal each number of hosts was faster than the smallest."""
    fewest = min(walls)
    for hosts, found in walls.items():
        faster = median(walls[fewest]) / median(found)
        print(f"{name}: {hosts} hosts are {faster:.2f} times {fewest}, {faster * fewest / hosts:.2f} of the ideal")


def _say(what: str, values: list[float]) -> None:
    print(f"{what}: median {median(values):.1f}, least {min(values):.1f}, most {max(values):.1f}", flush=True)


if __name__ == "__main__":
    main()
