"""The same study on 1, 2 and 4 equal hosts against the ideal: as many times faster as there are hosts.

    python tests/benchmarks/bench_hosts.py [--hosts 1 2 4] [--share 0.6] [--cells 60] [--epochs 60] [--repeats 3]

Each worker is a host that gets a share of a core, and offers one CPU (`tests/cluster/hosts.py`; needs root); the head,
with the driver, MLflow and PostgreSQL, gets a whole one. Four workers of 0.6 and a head need 3.4 cores: on a machine
of four, no host takes another's time, and the machine does not slow down as more of its cores work, as many do.
Printed are the times of the whole command, of the cells alone, and of training summed over the cells: it says by how
much the machine was slower with more hosts, which is not the cluster's doing. Times are printed and never judged.
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
    parser.add_argument("--share", type=float, default=0.6)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if why := lacking():
        sys.exit(why)
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} before the start", flush=True)
    times: dict[str, dict[int, list[float]]] = {what: {} for what in ("whole command", "its cells", "training, summed")}
    for hosts in options.hosts:
        with (
            tempfile.TemporaryDirectory(prefix="hosts-") as folder,
            lab(Path(folder), workers=hosts, share=options.share) as here,
        ):
            here.up([host for name, host in here.network.hosts.items() if name != "host1"])
            found = [_run(here, f"bench{number}", options.cells, options.epochs) for number in range(options.repeats)]
            here.down()
        for place, (what, found_by_hosts) in enumerate(times.items()):
            found_by_hosts[hosts] = [each[place] for each in found]
            _say(f"{hosts} hosts: {what}, s", found_by_hosts[hosts])
        print(f"  load {os.getloadavg()[0]:.1f}", flush=True)
    for what in ("whole command", "its cells"):
        _compare(what, times[what])


def _run(here: Lab, name: str, cells: int, epochs: int) -> tuple[float, float, float]:
    """Seconds of a whole command, of its cells, and of training summed over them."""
    (here.network.shared / f"{name}.py").write_text(STUDY.format(name=name, cells=cells, epochs=epochs))
    log = here.desk / f"{name}.log"
    began = time.monotonic()
    code = here.start(f"cd ~/sweeper && python -m sweeper.run {SHARED}/{name}.py", log).wait()
    wall = time.monotonic() - began
    said = _SAID.search(log.read_text())
    if code or not said:
        sys.exit(log.read_text())
    return wall, float(said[2]), float(said[4])


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
