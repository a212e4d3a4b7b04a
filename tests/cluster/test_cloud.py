"""`cluster.yaml` on a cloud of this machine's hosts: workers come as a study needs them, are taken away, and end idle.

`pytest -m cluster -n0 tests/cluster/test_cloud.py`, as root. The autoscaler, ssh, setup, PostgreSQL and MLflow are
real; only who switches machines on is not Amazon (`cloud.py`).
"""

import pickle
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from cloud import IDLE_MINUTES, MOST, Cloud, cloud
from driving import VARYING, place, run
from hosts import SHARED, lacking
from lab import READ, Lab, training, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.skipif(bool(lacking()), reason=lacking())]
CELLS = 24
STUDY = """
from sweeper import Cka, LrSearch, Sweep, grid
cells = grid(
    dataset="digits_5_9", model="cbr_mini", size=16, epochs=60, depth=[1, 2], fold=[1, 2], seed=range(6),
    augment="flip", lr=LrSearch(low=1e-3, high=3e-2, trials=2, epochs=4),
)
sweep = Sweep(name="chaos", cells=cells, probes=[Cka()], gpus_per_cell=0)
"""
_LONG = 420
"""Seconds after which something that must come is missed."""


@dataclass(frozen=True, kw_only=True)
class Rented:
    """A cloud on which a study has ended."""

    lab: Lab
    owner: Cloud
    at_first: int
    """Workers before the study began."""


@pytest.fixture(scope="module")
def rented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rented]:
    with cloud(tmp_path_factory.mktemp("cloud")) as (lab, owner):
        (lab.network.shared / "study.py").write_text(STUDY)
        lab.bring_up()
        at_first = len(owner.workers())
        log = lab.desk / "study.log"
        study = lab.start(f"cd ~/sweeper && python -m sweeper.run {SHARED}/study.py", log)

        def busy() -> bool:
            assert study.poll() is None, log.read_text()
            return sum(bool(training(host)) for host in owner.workers()) >= 3

        wait_for(busy, "three workers to train", seconds=_LONG, say=log.read_text)
        owner.interrupt(next(host for host in owner.workers() if training(host)))
        assert study.wait(_LONG) == 0, log.read_text()
        yield Rented(lab=lab, owner=owner, at_first=at_first)


def test_workers_come_when_a_study_needs_them_and_no_more_than_are_allowed(rented: Rented) -> None:
    assert rented.at_first == 0
    assert 3 <= rented.owner.most <= MOST
    assert rented.owner.kinds() <= {"gpu_spot", "gpu_worker"}


def test_a_study_whose_spot_machine_is_taken_ends_with_the_table_of_one_machine(rented: Rented, tmp_path: Path) -> None:
    undisturbed = place(tmp_path, STUDY, cells=CELLS)
    code, said = run(undisturbed)
    assert code == 0, said
    rented.lab.run(f"cd ~/sweeper && python -c {shlex.quote(READ)}")
    tables = pickle.loads((rented.lab.network.shared / "frames.pkl").read_bytes())
    for name, table in undisturbed.frames().items():
        mine = tables[name].drop(columns=VARYING, errors="ignore")
        pd.testing.assert_frame_equal(mine, table, check_exact=True, obj=name)


def test_workers_that_are_idle_end(rented: Rented) -> None:
    wait_for(lambda: not rented.owner.workers(), "idle workers to end", seconds=60 * IDLE_MINUTES + _LONG)
    assert rented.lab.head.first.poll() is None


def test_ray_down_ends_every_machine(rented: Rented) -> None:
    rented.lab.take_down()
    wait_for(lambda: rented.lab.head.first.poll() is not None, "the head to end", seconds=_LONG)
    assert not rented.owner.workers()
