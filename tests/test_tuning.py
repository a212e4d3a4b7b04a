"""Jobs through Ray Tune: processes stay warm, also while the queue has nothing to give."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from queueing import Queue, queues, seeds
from ray.util.state import list_actors
from ray.util.state.common import ActorState

from sweeper import tuning
from sweeper.cell import make_cell
from sweeper.outcome import Devices
from sweeper.site import Site

pytestmark = pytest.mark.ray

SLOTS = 2
SHORT = make_cell(dataset="digits", model="cbr_mini", fold=1, size=8, epochs=1, lr=1e-3)
LONG = SHORT.replace(epochs=40)
HEIRS = [SHORT.replace(source=f"cell:{LONG.key}", seed=seed) for seed in range(4)]


@pytest.fixture(scope="module")
def connected() -> Iterator[None]:
    ray.init("local", num_cpus=SLOTS, include_dashboard=True, log_to_driver=False)
    yield
    ray.shutdown()


def _run(queue: Queue, folder: Path) -> int:
    """How many processes it took to run all that is left."""
    before = _processes()
    tuning.run_jobs(queue.jobs, Devices(), lambda wanted: SLOTS, folder)
    queue.recorder.flush()
    return _processes() - before


def _processes(*filters: tuple[str, str, str]) -> int:
    kind = "with_resources.<locals>.ResourceTrainable"  # Tune's name for the class of any trial
    return len(_actors(("class_name", "=", kind), *filters))


def _actors(*filters: tuple[str, str, str]) -> list[ActorState]:
    """Those of this Ray, beside which others may run."""
    return list_actors(ray.get_runtime_context().gcs_address, filters=list(filters), limit=1000)


def test_a_process_without_a_job_waits_for_the_next_one(connected: None, site: Site, tmp_path: Path) -> None:
    """One process is done long before the source of four heirs: it is there when they are ready."""
    with queues(site, "waits", tmp_path) as begin:
        queue = begin([LONG, SHORT, *HEIRS], slots=SLOTS)
        assert _run(queue, tmp_path) == SLOTS
        assert not queue.jobs.failures
        assert queue.records().finished.keys() == {cell.key for cell in (LONG, SHORT, *HEIRS)}


def test_processes_that_wait_end_with_the_sweep(connected: None, site: Site, tmp_path: Path) -> None:
    with queues(site, "ends", tmp_path) as begin:
        queue = begin([LONG, SHORT], slots=SLOTS)
        assert _run(queue, tmp_path) == SLOTS
        assert len(queue.records().finished) == 2
    assert not _actors(("class_name", "=", "_Rings"), ("state", "=", "ALIVE"))


def test_a_process_that_waited_too_long_is_let_go(
    connected: None, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "_LONGEST_WAIT", 0.01)
    with queues(site, "lets_go", tmp_path) as begin:
        queue = begin([LONG, *seeds(2, SHORT), *HEIRS[:2]])
        _run(queue, tmp_path)
        assert len(queue.records().finished) == 5


def test_a_process_that_another_driver_needs_the_room_of_is_ended(connected: None, site: Site, tmp_path: Path) -> None:
    alive: list[int] = []

    def slots(wanted: int) -> int:
        if len(queue.jobs.speeds) < 3:  # cells that have ended
            return SLOTS
        alive.append(_processes(("state", "=", "ALIVE")))
        return 1

    with queues(site, "yields", tmp_path) as begin:
        queue = begin(seeds(9, LONG), slots=SLOTS)
        tuning.run_jobs(queue.jobs, Devices(), slots, tmp_path)
        assert (alive[0], alive[-1]) == (SLOTS, 1)
        assert len(queue.records().finished) == 9
        assert not queue.jobs.failures
