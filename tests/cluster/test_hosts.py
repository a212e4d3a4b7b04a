"""A study on several hosts, which die, are cut off and come, ends as on one machine: real `ray up`, ssh, PostgreSQL.

`pytest -m cluster -n0 tests/cluster/test_hosts.py`, as root; the hosts are namespaces of this machine (`hosts.py`).
`SWEEPER_HOSTS_EPOCHS` (100) is how long each cell trains: the study has to outlast what befalls it, which takes a few
minutes on four free cores; fewer serve on a machine that others use as well.
"""

import os
import pickle
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from driving import NAME, VARYING, Place, place, run
from hosts import SHARED, Host, lacking
from lab import READ, Lab, lab, left_over, training, wait_for
from processes import Process

from sweeper import ledger
from sweeper.site import Site

_LACKING = lacking(served=True)
pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.skipif(bool(_LACKING), reason=_LACKING)]
CELLS = 64
EPOCHS = int(os.environ.get("SWEEPER_HOSTS_EPOCHS", "100"))
STUDY = f"""
from sweeper import L2, Cka, Knn, LrSearch, Sweep, grid
common = dict(dataset="digits_5_9", model="cbr_mini", size=16, epochs={EPOCHS}, augment="flip", seed=range(8))
searched = grid(depth=[1, 2], fold=[1, 2, 3], lr=LrSearch(low=1e-3, high=3e-2, trials=3, epochs=4), **common)
fixed = grid(fold=[4, 5], lr=3e-3, **common)
sweep = Sweep(name="chaos", cells=searched + fixed, probes=[Cka(), Knn(k=5), L2()])
"""
COMMAND = f"cd ~/sweeper && python -m sweeper.run {SHARED}/study.py"
_AWAY = 20
"""Seconds for which a host does not reach the shared folder: several epochs, each of which writes there."""
_LONG = 420
"""Seconds after which something that must come is missed."""


@dataclass(kw_only=True)
class Study:
    """The study on the lab's cluster, and the driver that runs it now."""

    lab: Lab
    driver: subprocess.Popen
    log: Path

    @property
    def finished(self) -> int:
        """How many cells are recorded."""
        storage = self.lab.network.shared / "storage"
        site = Site(data=storage, cache=storage, storage=storage, tracking=self.lab.tracking)
        return len(ledger.read(site, NAME).finished)

    def until_finished(self, count: int) -> None:
        def reached() -> bool:
            assert self.driver.poll() is None, self.log.read_text()
            return self.finished >= count

        wait_for(reached, f"{count} cells", seconds=_LONG, say=self.log.read_text)

    def until_training(self, host: Host) -> None:
        """Waits until a host trains."""
        wait_for(lambda: bool(training(host)), f"{host.name} to train", seconds=_LONG, say=self.log.read_text)

    def tables(self) -> dict[str, pd.DataFrame]:
        """The frames, as they are read on the head."""
        self.lab.run(f"cd ~/sweeper && python -c {shlex.quote(READ)}")
        return pickle.loads((self.lab.network.shared / "frames.pkl").read_bytes())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Place:
    here = place(tmp_path_factory.mktemp("undisturbed"), STUDY, cells=CELLS)
    code, said = run(here)
    assert code == 0, said
    return here


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("lab"), workers=2, served=True) as here:
        (here.network.shared / "study.py").write_text(STUDY)
        hosts = here.network.hosts
        here.up([hosts["host2"], hosts["host3"]])
        yield here


@pytest.fixture(scope="module")
def disturbed(cluster: Lab) -> Study:
    """The study after all that a cluster can do to it."""
    hosts, network = cluster.network.hosts, cluster.network
    study = _started(cluster, "first")
    study.until_finished(2)
    _kill(_services(cluster.head))
    cluster.up([hosts["host2"], hosts["host3"], network.start(4)], restart=False)
    study.until_training(hosts["host2"])
    hosts["host2"].kill()
    study.until_training(hosts["host4"])  # what the dead one had is begun again elsewhere
    network.start(2)
    study.until_training(hosts["host3"])
    hosts["host3"].cut()
    wait_for(lambda: hosts["host3"].address not in cluster.alive(), "Ray to miss host3", seconds=_LONG)
    hosts["host3"].join()
    study.until_finished(24)
    study.until_training(hosts["host4"])
    hosts["host4"].lose(network.files)
    time.sleep(_AWAY)
    hosts["host4"].find(network.files)
    study.until_finished(32)
    _kill(_drivers(cluster.head))
    assert study.driver.wait(60) != 0
    study = _started(cluster, "second")
    assert study.driver.wait(_LONG) == 0, study.log.read_text()
    return study


def _started(cluster: Lab, name: str) -> Study:
    log = cluster.desk / f"{name}.log"
    return Study(lab=cluster, driver=cluster.start(COMMAND, log), log=log)


def _drivers(head: Host) -> list[Process]:
    return [each for each in head.processes() if each.command[1:3] == ["-m", "sweeper.run"]]


def _services(head: Host) -> list[Process]:
    """The first processes of MLflow and of PostgreSQL."""
    return [each for each in head.processes() if each.command[1:3] == ["-m", "mlflow"] or _is_postgres(each)]


def _is_postgres(process: Process) -> bool:
    return (process.command or [""])[0].endswith("/postgres")


def _kill(found: list[Process]) -> None:
    assert found, "nothing of it runs"
    for each in found:
        each.send(signal.SIGKILL)


def test_a_study_whose_hosts_die_are_cut_off_and_come_ends_with_the_table_of_one_machine(
    disturbed: Study, undisturbed: Place
) -> None:
    mine = {name: table.drop(columns=VARYING, errors="ignore") for name, table in disturbed.tables().items()}
    for name, table in undisturbed.frames().items():
        pd.testing.assert_frame_equal(mine[name], table, check_exact=True, obj=name)


def test_hosts_that_died_or_were_cut_off_join_again_by_themselves(disturbed: Study) -> None:
    addresses = {each.address for each in disturbed.lab.network.hosts.values()}
    wait_for(lambda: addresses <= disturbed.lab.alive(), f"{addresses} to be alive", seconds=_LONG)


def test_after_ray_down_nothing_runs_on_any_host(disturbed: Study) -> None:
    disturbed.lab.down()
    left = left_over(list(disturbed.lab.network.hosts.values()))
    assert [each.command for each in left] == []
