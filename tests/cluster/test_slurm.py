"""`sbatch slurm.sh FILE` for real: Slurm's own daemons, and jobs that end, are cancelled or run out of time.

`pytest -m cluster -n0 tests/cluster/test_slurm.py`, as root on a Debian machine with slurmctld, slurmd, slurm-client
and munge beside what `hosts.py` needs, which makes several hosts of this machine.
"""

import pickle
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
import pytest
from driving import NAME, VARYING, Place, place, run
from hosts import SHARED, Host, lacking
from lab import wait_for
from processes import named
from slurm import Slurm, missing, slurm

WHY = lacking() or missing()
pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.skipif(bool(WHY), reason=WHY)]
NODES = 3
STUDY = """
from sweeper import L2, LrSearch, Sweep, grid
common = dict(dataset="digits_5_9", model="cbr_mini", size=16, epochs={epochs}, augment="flip", fold=1)
searched = grid(depth=[1, 2], seed=range(8), lr=LrSearch(low=1e-3, high=3e-2, trials=2, epochs=2), **common)
fixed = grid(fraction=0.5, seed=range(8), lr=3e-3, **common)
sweep = Sweep(name="chaos", cells=searched + fixed, probes=[L2()])
"""
CELLS, EPOCHS = 24, 60
_LONG = 420
_READ = f"""
import pickle
from analysis import frames
from sweeper.site import Site
reads = (frames.runs, frames.epochs, frames.predictions, frames.probes)
tables = {{read.__name__: read("{NAME}", Site.from_environment()) for read in reads}}
open("{SHARED}/frames.pkl", "wb").write(pickle.dumps(tables))
"""


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """The study's jobs one after another, each as it was when it had ended: its state and exit code, and its output."""

    cancelled: tuple[str, str]
    out_of_time: tuple[str, str]
    last: tuple[str, str]
    left: list[list[str]]
    """What ran on the nodes after each."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Place:
    here = place(tmp_path_factory.mktemp("undisturbed"), STUDY.format(epochs=EPOCHS), cells=CELLS)
    code, said = run(here)
    assert code == 0, said
    return here


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with slurm(tmp_path_factory.mktemp("slurm"), nodes=NODES, cpus=1) as here:
        for folder in ("storage", "data"):
            (here.network.shared / folder).mkdir()
        (here.project / "study.py").write_text(STUDY.format(epochs=EPOCHS))
        yield here


@pytest.fixture(scope="module")
def jobs(cluster: Slurm) -> Jobs:
    """The same command, first cancelled while it trains on all nodes, then out of time, then until its end."""
    left = []

    def end(job: int) -> tuple[str, str]:
        ended = cluster.ended(job, seconds=_LONG), cluster.said(job)
        wait_for(lambda: not cluster.left(), "the nodes to be empty", seconds=40, say=lambda: str(cluster.left()))
        left.append([each.command for each in cluster.left()])
        return ended

    first = cluster.submit(f"sbatch --nodes={NODES} slurm.sh study.py")
    for host in cluster.nodes:
        wait_for(
            lambda host=host: _trains(host), f"{host.name} to train", seconds=_LONG, say=lambda: _said(cluster, first)
        )
    cluster.run(f"scancel {first}")
    cancelled = end(first)
    began = time.monotonic()
    second = cluster.submit("sbatch --nodes=2 --time=30 slurm.sh study.py")
    wait_for(
        lambda: any(map(_trains, cluster.nodes)), "a node to train", seconds=_LONG, say=lambda: _said(cluster, second)
    )
    minutes = int((time.monotonic() - began) / 60) + 1  # so that the limit comes now, however fast this machine is
    cluster.run(f"scontrol update JobId={second} TimeLimit={minutes}")
    out_of_time = end(second)
    last = end(cluster.submit(f"sbatch --nodes={NODES} slurm.sh study.py"))
    return Jobs(cancelled=cancelled, out_of_time=out_of_time, last=last, left=left)


def _trains(host: Host) -> bool:
    return bool(named(host.processes(), "ray::_Trial", "ray::ResourceTrainable"))


def _said(cluster: Slurm, job: int) -> str:
    log = cluster.project / f"ray-{job}.log"
    return cluster.said(job) + (log.read_text() if log.exists() else "")


def test_a_cancelled_job_ends_at_once_and_keeps_what_is_finished(jobs: Jobs) -> None:
    state, said = jobs.cancelled
    assert state.startswith("CANCELLED"), said


def test_a_job_that_runs_out_of_time_says_that_the_same_command_goes_on(jobs: Jobs) -> None:
    state, said = jobs.out_of_time
    assert state == "FAILED 130:0", said
    assert "What is finished is kept" in said
    assert said.splitlines()[-1] == "The allocation ends; the same sbatch command goes on from here."


def test_the_same_command_ends_with_the_table_of_one_machine(jobs: Jobs, cluster: Slurm, undisturbed: Place) -> None:
    state, said = jobs.last
    assert state == "COMPLETED 0:0", said
    cluster.run(f".venv/bin/python -c {shlex.quote(_READ)}")
    mine = pickle.loads((cluster.network.shared / "frames.pkl").read_bytes())
    for name, table in undisturbed.frames().items():
        found = mine[name].drop(columns=VARYING, errors="ignore")
        pd.testing.assert_frame_equal(found, table, check_exact=True, obj=name)


def test_nothing_of_a_job_outlives_it(jobs: Jobs) -> None:
    assert jobs.left == [[], [], []]


SMALL = """
from sweeper import Sweep, grid
cells = grid(dataset="digits_5_9", model="cbr_mini", size=8, epochs=2, fold=1, lr=3e-3, seed=range(2))
sweep = Sweep(name="{name}", cells=cells)
"""


def _small(cluster: Slurm, name: str) -> None:
    (cluster.project / f"{name}.py").write_text(SMALL.format(name=name))


def test_one_node_is_enough(cluster: Slurm) -> None:
    _small(cluster, "single")
    job = cluster.submit("sbatch --nodes=1 slurm.sh single.py")
    assert cluster.ended(job) == "COMPLETED 0:0", _said(cluster, job)


@pytest.mark.parametrize(
    ("command", "code", "sentence"),
    [
        ("sbatch slurm.sh nothing.py", 2, "there is no study file 'nothing.py'"),
        (
            "env -u SWEEPER_STORAGE sbatch slurm.sh study.py",
            1,
            "SWEEPER_STORAGE: set it to a folder that all nodes share",
        ),
        (
            "cd / && sbatch --output=$HOME/sweeper/slurm-%j.out ~/sweeper/slurm.sh study.py",
            1,
            "/.venv/bin/ray is not there: ",
        ),
    ],
)
def test_a_mistake_is_told_in_one_sentence(cluster: Slurm, command: str, code: int, sentence: str) -> None:
    job = cluster.submit(command)
    assert cluster.ended(job) == f"FAILED {code}:0"
    assert sentence in cluster.said(job).splitlines()[-1]
    assert not (cluster.project / f"ray-{job}.log").exists()


def test_a_storage_that_the_nodes_do_not_share_is_named_with_the_node(cluster: Slurm) -> None:
    _small(cluster, "apart")
    job = cluster.submit("SWEEPER_STORAGE=/srv/tmp/storage sbatch --nodes=2 slurm.sh apart.py")
    assert cluster.ended(job) == "FAILED 1:0", _said(cluster, job)
    assert "storage /srv/tmp/storage is not" in cluster.said(job)
