"""Cells on several nodes: real raylets on this machine, each with resources of its own."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray
from driving import FEW, NAME, assert_equal, driver, free_port, place, run
from queueing import queues
from ray._raylet import GcsClient
from ray.autoscaler._private.constants import AUTOSCALER_RESOURCE_REQUEST_CHANNEL
from ray.autoscaler.v2.sdk import get_cluster_resource_state
from ray.cluster_utils import Cluster
from ray.experimental.internal_kv import _internal_kv_get
from ray.util.placement_group import placement_group, remove_placement_group

from analysis import frames
from sweeper import shares, tuning
from sweeper.cell import make_cell
from sweeper.cluster.places import check_places
from sweeper.grid import Sweep
from sweeper.outcome import Devices
from sweeper.shares import Share, cells_on, devices_of
from sweeper.site import Site

pytestmark = pytest.mark.ray

CELL = make_cell(dataset="digits", model="cbr_mini", fold=1, size=8, epochs=1, lr=1e-3)
MANY = 10**6


@contextmanager
def cluster(*nodes: dict[str, int]) -> Iterator[Cluster]:
    """A head without processors, and these nodes."""
    head = {"num_cpus": 0, "include_dashboard": False, "dashboard_port": free_port()}  # beside any other Ray
    made = Cluster(initialize_head=True, head_node_args=head)
    try:
        for node in nodes:
            made.add_node(**node)
        yield made
    finally:
        made.shutdown()


@contextmanager
def joined(made: Cluster) -> Iterator[None]:
    """This process is a driver of the cluster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", made.address)
        patch.setattr(shares, "RENEW_SECONDS", 0.0)
        ray.init(log_to_driver=False)
        try:
            yield
        finally:
            ray.shutdown()


@pytest.fixture(scope="module")
def unlike() -> Iterator[Cluster]:
    with cluster({"num_cpus": 2, "num_gpus": 1}, {"num_cpus": 2}, {"num_cpus": 3, "num_gpus": 1}) as made:
        yield made


@pytest.fixture
def mixed(unlike: Cluster) -> Iterator[None]:
    with joined(unlike):
        yield


@pytest.mark.parametrize(
    "devices",
    [
        Devices(),
        Devices(gpus=0.25),
        Devices(gpus=0.6),
        Devices(gpus=1.0),
        Devices(workers=2),
        Devices(workers=2, gpus=1.0),
        Devices(workers=2, gpus=0.3333),
        Devices(workers=3, gpus=0.5),
    ],
)
def test_as_many_cells_are_begun_as_ray_has_room_for(mixed: None, devices: Devices) -> None:
    """One more waits, as do all that would need a device of a node that has none."""
    slots = cells_on(shares._nodes(), devices)
    bundle = {"CPU": 1, "GPU": devices.gpus} if devices.gpus else {"CPU": 1}
    groups = [placement_group([bundle] * devices.workers, strategy="PACK") for _ in range(slots + 1)]
    try:
        ready = [group.ready() for group in groups]
        assert len(ray.wait(ready, num_returns=slots, timeout=60)[0]) == slots
        assert len(ray.wait(ready, num_returns=slots + 1, timeout=1)[0]) == slots
    finally:
        for group in groups:
            remove_placement_group(group)


@pytest.mark.slow
def test_a_cell_of_two_workers_is_trained_over_two_nodes_of_one(site: Site, tmp_path: Path) -> None:
    devices = Devices(workers=2)
    with cluster({"num_cpus": 1}, {"num_cpus": 1}) as made, joined(made), queues(site, "wide", tmp_path) as begin:
        queue = begin([CELL.replace(frozen=4)], slots=1, devices=devices)
        tuning.run_jobs(queue.jobs, devices, Share(devices, print).slots, tmp_path)
        assert not queue.jobs.failures
        assert len(queue.records().finished) == 1


def test_jobs_tell_the_node_that_has_read_their_images(mixed: None, site: Site, tmp_path: Path) -> None:
    with queues(site, "told", tmp_path) as begin:
        queue = begin([CELL.replace(seed=seed) for seed in range(6)], slots=2)
        tuning.run_jobs(queue.jobs, Devices(), lambda wanted: 2, tmp_path)
        known = [node["NodeID"] for node in ray.nodes() if queue.jobs.held.has(node["NodeID"], CELL)]
        assert 1 <= len(known) <= 2
        assert len(queue.records().finished) == 6


def test_a_sweep_that_leaves_its_devices_open_waits_for_the_first_node_and_asks_for_it(site: Site) -> None:
    """Else it would begin on processors what the nodes to come have GPUs for."""
    sweep = Sweep(name="open", cells=[CELL])
    said: list[str] = []
    found: list[Devices] = []
    with cluster() as made, joined(made):
        waiting = threading.Thread(target=lambda: found.append(devices_of(sweep, site, said.append)))
        waiting.start()
        until(lambda: {"CPU": 1.0, "GPU": 1.0} in asked())
        assert not found
        assert len(said) == 1
        assert "no node is there yet that trains" in said[0]
        made.add_node(num_cpus=2, num_gpus=1)
        waiting.join(60)
        assert found == [Devices(gpus=1.0)]


@pytest.mark.parametrize(("gpus", "demand"), [(True, {"CPU": 1.0, "GPU": 1.0}), (False, {"CPU": 1.0})])
def test_the_first_machine_of_a_cluster_is_asked_for_with_a_gpu_where_one_is_used(
    site: Site, gpus: bool, demand: dict[str, float]
) -> None:
    """Of a cluster whose nodes come as they are needed, and are not all alike."""
    said: list[str] = []
    with cluster() as made, joined(made):
        waiting = threading.Thread(target=lambda: check_places(site, gpus=gpus, say=said.append))
        waiting.start()
        client = GcsClient(address=made.address)
        until(lambda: bool(get_cluster_resource_state(client).pending_resource_requests))
        (pending,) = get_cluster_resource_state(client).pending_resource_requests
        assert pending.request.resources_bundle == demand
        made.add_node(num_cpus=1)  # whatever comes first is taken
        waiting.join(60)
        assert not waiting.is_alive()
        until(lambda: not get_cluster_resource_state(client).pending_resource_requests)
    assert len(said) == 1


def test_cells_that_need_a_gpu_wait_for_a_node_that_has_one(site: Site) -> None:
    """A node without one that joins before does not serve."""
    said: list[str] = []
    found: list[Share] = []
    with cluster({"num_cpus": 4}) as made, joined(made):
        devices = devices_of(Sweep(name="needs", cells=[CELL], gpus_per_cell=1), site, said.append)
        waiting = threading.Thread(target=lambda: found.append(Share(devices, said.append)))
        waiting.start()
        until(lambda: {"CPU": 1.0, "GPU": 1.0} in asked())
        assert not found
        made.add_node(num_cpus=4, num_gpus=2)
        waiting.join(60)
        assert found[0].slots(MANY) == 2
        made.add_node(num_cpus=4, num_gpus=1)
        assert found[0].slots(MANY) == 3  # nodes that join later are used
        until(lambda: len(asked()) == shares._MOST_ASKED)
        assert found[0].slots(1) == 1
        until(lambda: len(asked()) == 1)


def test_this_machine_alone_that_cannot_hold_a_cell_is_one_sentence() -> None:
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        with pytest.raises(ValueError, match=r"one cell needs 2 worker\(s\) .* has 1 node\(s\) of 1 CPU and 0 GPU; "):
            Share(Devices(workers=2), print)
    finally:
        ray.shutdown()


@pytest.mark.slow
def test_two_drivers_at_once_share_a_cluster_and_end_as_each_would_alone(tmp_path: Path) -> None:
    """Both studies have one name and the same cells, in folders of their own."""
    one, other = (place(tmp_path / name, FEW, cells=16) for name in ("one", "other"))
    with cluster({"num_cpus": 2}) as made:
        address = {"RAY_ADDRESS": str(made.address)}
        with driver(one, **address) as first, driver(other, **address) as second:
            both = (first, second)
            assert first.until(lambda: min(len(one.finished), len(other.finished)) >= 3), first.said + second.said
            assert all(each.process.poll() is None for each in both), first.said + second.said
            assert [each.code() for each in both] == [0, 0], first.said + second.said
    assert len(one.all_runs()) == len(other.all_runs()) == 16 + 2  # none was begun twice
    assert_equal(one, other)


@pytest.mark.slow
def test_a_node_that_is_taken_away_costs_no_epoch_that_had_ended(tmp_path: Path) -> None:
    here, undisturbed = (place(tmp_path / name, FEW, cells=16) for name in ("here", "undisturbed"))
    with cluster({"num_cpus": 2}, {"num_cpus": 2}) as made, driver(here, RAY_ADDRESS=str(made.address)) as started:
        assert started.until(lambda: here.share >= 0.1 and bool(here.trained)), started.said
        made.remove_node(next(iter(made.worker_nodes)), allow_graceful=False)
        lasting = here.trained
        assert started.code() == 0, started.said
    seconds = frames.epochs(NAME, here.site).set_index(["key", "epoch"])["seconds"]
    assert lasting
    assert {each: seconds[each] for each in lasting} == lasting
    code, said = run(undisturbed)
    assert code == 0, said
    assert_equal(here, undisturbed)


def asked() -> list[dict[str, float]]:
    """What the autoscaler is asked to make room for, one entry a worker, where Ray keeps it."""
    return json.loads(_internal_kv_get(AUTOSCALER_RESOURCE_REQUEST_CHANNEL) or "[]")


def until(reached: Callable[[], bool], seconds: float = 60) -> None:
    """Waits for something that must come."""
    waiting = threading.Event()
    for _ in range(int(seconds / 0.2)):
        if reached():
            return
        waiting.wait(0.2)
    raise AssertionError("it never came")


@pytest.mark.usefixtures("mixed")
def test_nodes_that_share_a_disk_pass_and_nothing_is_left_of_what_was_tried(site: Site) -> None:
    check_places(site, gpus=False)
    assert list(site.storage.iterdir()) == []
