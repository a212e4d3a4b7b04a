"""Drives the command as a person does and looks at what it leaves: on disk, in the store, in the process table.

Every wait ends: a driver that leaves no trace for a while fails the test, with all that it has said.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from glob import iglob
from pathlib import Path

import pandas as pd
import torch
from conftest import environment_of, make_site
from mlflow import MlflowClient
from mlflow.entities import ViewType
from processes import Process, end, tree

from analysis import frames
from sweeper import ledger
from sweeper.site import Site
from sweeper.work import unmoved

ROOT = Path(__file__).parents[1]
NAME = "chaos"
"""Of every study here."""
FEW = """
from sweeper import L2, Cka, Knn, LrSearch, Sweep, grid
cells = grid(
    dataset="digits_5_9", model="cbr_mini", size=16, epochs=20, depth=[1, 2], fold=1, seed=range(8), augment="flip",
    lr=LrSearch(low=1e-3, high=3e-2, trials=2, epochs=2),
)
sweep = Sweep(name="chaos", cells=cells, probes=[Cka(), Knn(k=5), L2()])
"""
QUIET_SECONDS = 300
"""A driver that leaves no trace for so long hangs."""
VARYING = ["run_id", "seconds", "total_seconds", "images_per_second", "commit"]


@dataclass(frozen=True, kw_only=True)
class Place:
    """A study file, the code that runs it, and a site of its own."""

    folder: Path
    code: Path
    """A copy, so that a study that takes minutes is of one code, whoever edits it meanwhile."""
    site: Site
    cells: int

    @property
    def finished(self) -> dict[str, str]:
        """Run of each finished cell, by key."""
        return {key: each.run_id for key, each in ledger.read(self.site, NAME).finished.items()}

    @property
    def trained(self) -> dict[tuple[str, int], float]:
        """Seconds of each epoch that lies on disk for cells that are not recorded yet, by key and number."""
        found = {}
        study = self.site.study(NAME)
        for path in (study / each for each in iglob("work-*/*/*", root_dir=study)):  # pathlib's fails on what goes
            key = unmoved(path.parent).name
            if not re.fullmatch("[0-9a-f]{16}", key):  # a rate trial's
                continue
            with suppress(FileNotFoundError):  # a folder that goes is recorded, or another's now
                if path.name == "progress.pt":
                    rows = torch.load(path, weights_only=True)["done"]
                    found |= {(key, row["number"]): row["seconds"] for row in rows}
                if path.name == "manifest.json":
                    table = pd.read_parquet(path.with_name("epochs.parquet"))
                    found |= {(key, int(row["epoch"])): row["seconds"] for _, row in table.iterrows()}
        return found

    @property
    def share(self) -> float:
        """How far the study is, from 0 to 1: four fifths are its cells, the rest their three probes."""
        finished = ledger.read(self.site, NAME).finished.values()
        return sum(0.8 + 0.2 * len(each.probes) / 3 for each in finished) / self.cells

    def frames(self) -> dict[str, pd.DataFrame]:
        """Everything that must be equal however a study came to its end."""
        tables = {read.__name__: read(NAME, self.site) for read in (frames.runs, frames.epochs, frames.predictions)}
        tables["probes"] = frames.probes(NAME, self.site)
        return {name: table.drop(columns=VARYING, errors="ignore") for name, table in tables.items()}

    def all_runs(self) -> list[str]:
        """The ids of the study's runs, the deleted ones as well: one per attempt to record a cell."""
        client = MlflowClient(self.site.tracking)
        experiment = client.get_experiment_by_name(NAME)
        assert experiment is not None
        found = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL, max_results=10_000)
        return [run.info.run_id for run in found]


@dataclass(kw_only=True)
class Driver:
    """One `python -m sweeper.run FILE` and every process that it was seen to have."""

    here: Place
    process: subprocess.Popen
    log: Path
    known: dict[int, Process] = field(default_factory=dict)

    @property
    def said(self) -> str:
        """All its output."""
        return self.log.read_text()

    def processes(self) -> list[Process]:
        """It and its descendants."""
        found = tree(self.process.pid)
        self.known |= {each.pid: each for each in found}
        return found

    def send(self, way: signal.Signals) -> None:
        """Signals it and its descendants, parents first."""
        for each in self.processes():
            each.send(way)

    def until(self, reached: Callable[[], bool] = lambda: False) -> bool:
        """Waits for something, or for its end; says whether that was reached."""
        traces, since = self._traces(), time.monotonic()
        while self.process.poll() is None:
            if reached():
                return True
            time.sleep(0.2)
            if time.monotonic() - since > 5 and self._traces() != traces:
                traces, since = self._traces(), time.monotonic()
            assert time.monotonic() - since < QUIET_SECONDS, f"nothing moves:\n{self.said}"
        return reached()

    def code(self) -> int:
        """Its exit code, as soon as it has one."""
        self.until()
        return self.process.wait()

    def close(self) -> None:
        """Ends all that is left of it."""
        self.processes()
        end(self.known.values())
        self.process.wait()

    def _traces(self) -> set[tuple[str, int]]:
        """What changes whenever anything is done; a heartbeat is no sign of work."""
        found = {(str(self.log), self.log.stat().st_size)}
        for folder, _, names in os.walk(self.here.site.storage):
            for name in names:
                if not name.startswith(("holder-", "now-")):
                    try:
                        found.add((name, os.stat(f"{folder}/{name}").st_mtime_ns))
                    except FileNotFoundError:
                        continue
        return found


def place(folder: Path, text: str, *, cells: int, storage: Path | None = None, tracking: str = "") -> Place:
    """A fresh place for a study file with so many cells."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.py").write_text(text)
    code = folder / "code"
    for room in ("sweeper", "analysis"):
        shutil.copytree(ROOT / room, code / room, ignore=shutil.ignore_patterns("__pycache__"))
    site = make_site(folder)
    if storage:
        site = replace(site, storage=storage, tracking=f"sqlite:///{storage / 'mlflow.db'}")
    if tracking:
        site = replace(site, tracking=tracking)
    return Place(folder=folder, code=code, site=site, cells=cells)


@contextmanager
def driver(here: Place, **environment: str) -> Iterator[Driver]:
    """A driver that has just been started; afterwards nothing of it is left."""
    log = here.folder / f"driver-{time.monotonic_ns()}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "sweeper.run", str(here.folder / "study.py")],
            cwd=here.code,
            env=os.environ | environment_of(here.site) | {"PYTHONUNBUFFERED": "1"} | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    started = Driver(here=here, process=process, log=log)
    try:
        yield started
    finally:
        started.close()


def run(here: Place, **environment: str) -> tuple[int, str]:
    """Exit code and output of one undisturbed run of the command."""
    with driver(here, **environment) as started:
        return started.code(), started.said


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[subprocess.Popen]:
    """A tracking server with its own database and files in `folder`, once it answers."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    with (folder / "server.log").open("a") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 120
        while not _answers(port):
            assert process.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < deadline, (folder / "server.log").read_text()
            time.sleep(0.2)
        yield process
    finally:
        end(tree(process.pid))
        process.wait()


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def assert_equal(found: Place, undisturbed: Place) -> None:
    """Every row of two studies is equal, bit for bit, but for times and ids."""
    mine, other = found.frames(), undisturbed.frames()
    for name, table in other.items():
        pd.testing.assert_frame_equal(mine[name], table, check_exact=True, obj=name)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
