"""Studies whose processes are killed, stopped and run twice: real Ray, MLflow and Optuna, nothing is replaced.

`SWEEPER_CHAOS_SEED` (0) draws the moments and places of `SWEEPER_CHAOS_KILLS` (20) kills. `pytest -m slow -n0
tests/test_chaos.py` took half an hour on four cores that others used as well (load 5 to 20); fewer kills take less.
"""

import math
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from driving import FEW, NAME, Driver, Place, assert_equal, driver, place, run
from mlflow import MlflowClient
from processes import Process, named

from analysis import frames
from sweeper.lease import EXPIRY_SECONDS
from sweeper.store import runs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc"),
]
SEED = int(os.environ.get("SWEEPER_CHAOS_SEED", "0"))
KILLS = int(os.environ.get("SWEEPER_CHAOS_KILLS", "20"))
_SPARE = 5
"""Kills that are drawn besides: the last ones come too late where the machine is quick, for a study that has ended."""
STUDY = """
from sweeper import L2, Cka, Knn, LrSearch, Sweep, grid
common = dict(model="cbr_mini", size=16, epochs=20)
source = grid(dataset="digits_0_4", fold=1, lr=3e-3, **common)
axes = dict(dataset="digits_5_9", source=[source[0], "random"], augment="flip", **common)
search = LrSearch(low=1e-3, high=3e-2, trials=3, epochs=2)
heirs = grid(depth=[1, 2], fold=[1, 2, 3], seed=range(4), lr=search, **axes)
fixed = grid(fold=4, seed=range(6), lr=3e-3, **axes)
sweep = Sweep(name="chaos", cells=(source + heirs + fixed)[:60], probes=[Cka(), Knn(k=5), L2()])
"""
LANES = """
from sweeper import Sweep, grid
cells = grid(
    dataset="digits_5_9", model="cbr_mini", size=16, epochs=20, frozen=4, augment="flip", fold=[1, 2], seed=range(4)
)
sweep = Sweep(name="chaos", cells=cells, workers_per_cell=2)
"""
PLACES = {
    "driver": (),
    "trial": ("ray::_Trial", "ray::ResourceTrainable", "ray::MapWorker"),
    "raylet": ("raylet",),
    "GCS": ("gcs_server",),
    "Train worker": ("ray::RayTrainWorker",),
}


class Killing:
    """One study, started again after each kill, and what must survive."""

    def __init__(self, here: Place, draw: random.Random) -> None:
        self.here, self.draw = here, draw
        self.kills: list[str] = []
        self.lasting: dict[tuple[str, int], float] = {}
        """Epochs that were on disk at a kill: none of them may be trained again."""
        self.recorded: dict[str, str] = {}
        """Runs of cells that were finished at a kill."""

    def run(self, places: list[str], first: float, last: float) -> None:
        """Kills at all these places, spread over this part of the study's course, and then lets it end.

        Args:
            first: share of the study that is done at the earliest; below 0 while a driver starts.
        """
        moments = sorted(self.draw.uniform(first, last) for _ in places)
        waiting = list(zip(moments, places, strict=True))
        for _ in range(2 * len(places) + 1):
            with driver(self.here) as started:
                while waiting and self._kill(started, *waiting[0]):
                    waiting.pop(0)
                if started.code() == 0:
                    return
                assert self.kills, started.said  # it cannot have been us
        raise AssertionError(f"the study did not end:\n{started.said}")

    def _kill(self, started: Driver, moment: float, where: str) -> bool:
        """Kills one process at its moment; False when the driver ended before."""
        reached = started.until(lambda: moment < 0 or (self.here.share >= moment and bool(_victims(started, where))))
        due = time.monotonic() + self.draw.uniform(0, 20 if moment < 0 else 2)
        alive = reached and started.until(lambda: time.monotonic() > due)
        victims = _victims(started, where) or started.processes()[:1]
        if not alive or not victims:
            return False
        victim = self.draw.choice(victims)
        self.kills.append(f"{self.here.share:.0%}: {where}, pid {victim.pid} {victim.command[:1]}")
        victim.send(signal.SIGKILL)
        self.recorded |= self.here.finished
        self.lasting |= self.here.trained
        return True


def _victims(started: Driver, where: str) -> list[Process]:
    return named(started.processes(), *PLACES[where]) if PLACES[where] else started.processes()[:1]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return _ended(place(tmp_path_factory.mktemp("undisturbed"), STUDY, cells=60))


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killing:
    places = ["driver", "trial", "raylet", "trial", "driver", "trial", "GCS"] * (KILLS + _SPARE)
    killing = Killing(place(tmp_path_factory.mktemp("killed"), STUDY, cells=60), random.Random(SEED))
    killing.run(places[: KILLS + _SPARE], -0.1, 0.95)
    return killing


@pytest.fixture(scope="module")
def killed_lanes(tmp_path_factory: pytest.TempPathFactory) -> Killing:
    killing = Killing(place(tmp_path_factory.mktemp("lanes"), LANES, cells=8), random.Random(SEED))
    killing.run(["Train worker"] * math.ceil(KILLS / 10), 0, 0.4)  # the cells are trained at 0.8
    return killing


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return _ended(place(tmp_path_factory.mktemp("few"), FEW, cells=16))


def _ended(here: Place) -> Place:
    code, said = run(here)
    assert code == 0, said
    assert len(here.finished) == here.cells
    return here


def test_a_study_killed_anywhere_ends_with_the_table_of_an_undisturbed_one(killed: Killing, undisturbed: Place) -> None:
    print("\n".join(killed.kills))
    assert len(killed.kills) >= KILLS
    assert_equal(killed.here, undisturbed)


def test_no_epoch_that_was_on_disk_at_a_kill_is_trained_again(killed: Killing) -> None:
    """A time in nanoseconds tells one training of an epoch from another."""
    seconds = frames.epochs(NAME, killed.here.site).set_index(["key", "epoch"])["seconds"]
    assert killed.lasting
    assert {place: seconds[place] for place in killed.lasting} == killed.lasting


def test_no_cell_that_was_recorded_at_a_kill_is_recorded_again(killed: Killing) -> None:
    finished = killed.here.finished
    assert {key: finished[key] for key in killed.recorded} == killed.recorded


def test_after_kills_no_row_is_there_twice(killed: Killing) -> None:
    site = killed.here.site
    assert frames.runs(NAME, site)["key"].is_unique
    assert not frames.epochs(NAME, site).duplicated(["key", "epoch"]).any()
    assert not frames.predictions(NAME, site).duplicated(["key", "part", "image"]).any()
    assert not frames.probes(NAME, site).duplicated(["key", "probe_key", "block", "metric"]).any()


def test_after_kills_no_point_of_a_curve_is_there_twice(killed: Killing) -> None:
    client = MlflowClient(killed.here.site.tracking)
    steps = Counter(
        (run.info.run_id, name, point.step)
        for run in runs(killed.here.site, NAME)
        for name in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, name)
    )
    assert len(steps) > 60 * 20
    assert set(steps.values()) == {1}


def test_a_study_whose_train_workers_are_killed_ends_with_the_table_of_an_undisturbed_one(
    killed_lanes: Killing, tmp_path: Path
) -> None:
    print("\n".join(killed_lanes.kills))
    assert any("Train worker" in each and "RayTrainWorker" in each for each in killed_lanes.kills)
    assert_equal(killed_lanes.here, _ended(place(tmp_path, LANES, cells=8)))


@pytest.mark.parametrize("where", ["raylet", "GCS"])
def test_a_driver_whose_ray_dies_ends_by_itself_with_a_sentence(tmp_path: Path, where: str) -> None:
    here = place(tmp_path, FEW, cells=16)
    with driver(here) as started:
        assert started.until(lambda: bool(_victims(started, where) and _victims(started, "trial"))), started.said
        _victims(started, where)[0].send(signal.SIGKILL)
        assert started.code() == 1, started.said
    assert f"Ray's {where} at " in started.said.splitlines()[-1]
    assert "run the same command again" in started.said.splitlines()[-1]


def test_of_two_drivers_started_at_once_one_waits_for_the_other_and_both_end_well(few: Place, tmp_path: Path) -> None:
    here = place(tmp_path, FEW, cells=16)
    with driver(here) as one, driver(here) as other:
        codes = one.code(), other.code()
    assert codes == (0, 0), one.said + other.said
    holder, waiter = (one, other) if "waits for it to end" in other.said else (other, one)
    assert f"is held by pid {holder.process.pid} on " in waiter.said
    assert len(here.all_runs()) == 16 + 2  # cells and searches; those of a second attempt would be here, deleted
    assert_equal(here, few)


def test_a_driver_that_sleeps_past_its_lease_writes_nothing_more_and_says_why(few: Place, tmp_path: Path) -> None:
    here = place(tmp_path, FEW, cells=16)
    with driver(here) as sleeper:
        assert sleeper.until(lambda: len(here.finished) >= 2), sleeper.said
        sleeper.send(signal.SIGSTOP)
        began, before = time.monotonic(), here.finished
        code, said = run(here)
        assert code == 0, said
        assert time.monotonic() - began > EXPIRY_SECONDS / 2
        written = here.all_runs()
        sleeper.send(signal.SIGCONT)
        assert sleeper.code() == 1, sleeper.said
    assert "was taken over by pid" in sleeper.said.splitlines()[-1]
    assert here.all_runs() == written
    assert before.items() <= here.finished.items()
    assert_equal(here, few)
