"""What PostgreSQL and MLflow's server cost a study beside SQLite in its storage folder: 60 trivial cells through both.

    python tests/benchmarks/bench_tracking.py [--cells 60] [--repeats 3]

The services are those of a cluster's head, on this machine; as root, PostgreSQL runs as `postgres`. Both ways take
turns, and begin with a study of four cells, in which SQLite makes its tables. Printed are seconds of the whole command
and the overhead of each cell as the command says it, and of both the ratio within each turn. Times are never judged.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench_cells import SMALL  # noqa: E402
from driving import free_port  # noqa: E402

from sweeper.cluster import services  # noqa: E402
from sweeper.cluster.head import Services  # noqa: E402
from sweeper.site import Site  # noqa: E402

STUDY = """
from sweeper import Sweep
from sweeper.cell import Cell
cell = Cell.from_json({cell!r})
sweep = Sweep(name="{name}", cells=[cell.replace(seed=seed) for seed in range({cells})])
"""
WAYS = ("SQLite", "PostgreSQL")
Times = dict[str, list[tuple[float, float]]]
"""Way -> for each turn seconds of the whole command, and of overhead of each cell."""


def main() -> None:
    """Prints both times, ratios and the difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    commit = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, commit {commit.stdout.strip()}"
    )
    with tempfile.TemporaryDirectory(prefix="tracking-") as name:
        Path(name).chmod(0o755)  # who runs PostgreSQL must come through
        with _head(Path(name)) as server:
            sites = {"SQLite": _embedded(Path(name)), "PostgreSQL": server}
            took: Times = {way: [] for way in WAYS}
            for turn in range(options.repeats + 1):
                for way in WAYS if turn % 2 else WAYS[::-1]:
                    found = _run(sites[way], f"turn{turn}", options.cells if turn else 4)
                    took[way] += [found] if turn else []
                    print(
                        f"  {way}: {found[0]:.1f} s, {found[1]:.3f} s each{'' if turn else ' (not counted)'}",
                        flush=True,
                    )
    _report(took, options.cells)


@contextmanager
def _head(folder: Path) -> Iterator[Site]:
    """A head with its services, once they answer."""
    settings = {
        "XDG_STATE_HOME": str(folder / "state"),
        "SWEEPER_SERVICES": str(folder / "services"),
        "SWEEPER_STORAGE": str(folder / "served"),
        "SWEEPER_CACHE": str(folder / "cache"),
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}",
    }
    os.environ.update(settings)
    own = Services.from_environment(database_port=free_port(), prometheus_port=free_port())
    services.start(own)
    try:
        yield Site.from_environment()
    finally:
        services.stop(own)


def _embedded(folder: Path) -> Site:
    site, storage = Site.from_environment(), folder / "embedded"
    return Site(data=site.data, cache=site.cache, storage=storage, tracking=f"sqlite:///{storage / 'mlflow.db'}")


def _run(site: Site, name: str, cells: int) -> tuple[float, float]:
    """Seconds of a whole command, and of overhead of each cell."""
    site.storage.mkdir(parents=True, exist_ok=True)
    file = site.storage / f"{name}.py"
    file.write_text(STUDY.format(cell=SMALL.to_json(), name=name, cells=cells))
    environment = os.environ | {
        "SWEEPER_DATA": str(site.data),
        "SWEEPER_CACHE": str(site.cache),
        "SWEEPER_STORAGE": str(site.storage),
        "MLFLOW_TRACKING_URI": site.tracking,
        "PYTHONPATH": str(ROOT),
    }
    began = time.monotonic()
    command = [sys.executable, "-m", "sweeper.run", str(file)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    wall = time.monotonic() - began
    said = re.search(r"overhead ([\d.]+) s each", done.stdout)
    if done.returncode or not said:
        sys.exit(done.stdout + done.stderr)
    return wall, float(said[1])


def _report(took: Times, cells: int) -> None:
    for place, what in enumerate(("whole command", "overhead of each cell")):
        found = {way: [each[place] for each in took[way]] for way in WAYS}
        for way in WAYS:
            _say(f"{what}, {way}, s", found[way])
        pairs = list(zip(found["PostgreSQL"], found["SQLite"], strict=True))
        _say(f"{what}, PostgreSQL / SQLite within a turn", [mine / other for mine, other in pairs])
        if what == "whole command":
            _say("more of the whole command for each cell, s", [(mine - other) / cells for mine, other in pairs])


def _say(what: str, values: list[float]) -> None:
    print(f"{what}: median {median(values):.3g}, least {min(values):.3g}, most {max(values):.3g}, n {len(values)}")


if __name__ == "__main__":
    main()
