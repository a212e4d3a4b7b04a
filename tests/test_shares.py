"""How many cells a cluster holds, and how drivers share them."""

import random

import pytest
from scipy.optimize import brentq

from sweeper.outcome import Devices
from sweeper.shares import Wish, _fill, cells_on, fair_slots

MANY = 10**6


def node(cpus: float, gpus: float = 0) -> dict[str, float]:
    return {"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus", "cells"),
    [
        ([node(4)], 1, 0.0, 4),
        ([node(3), node(2)], 1, 0.0, 5),
        ([node(3.5)], 1, 0.0, 3),
        ([node(8, 1)], 1, 0.25, 4),
        ([node(2, 1)], 1, 0.25, 2),  # each worker has a processor
        ([node(8, 1)], 1, 0.3333, 3),
        ([node(8, 2)], 1, 0.6, 2),  # a share is of one device
        ([node(8, 1), node(8, 1)], 1, 0.6, 2),
        ([node(8), node(8, 1)], 1, 1.0, 1),  # a node without a GPU holds none
        ([node(8), node(8)], 1, 1.0, 0),
        ([node(8, 1), node(8, 1)], 2, 1.0, 1),  # one cell on two nodes
        ([node(8, 1), node(8, 1), node(8, 1)], 2, 1.0, 1),
        ([node(8, 4)], 1, 2.0, 2),
        ([node(8, 3), node(8, 3)], 1, 2.0, 2),  # 6 devices, of which no two are left on one node
        ([node(0), node(0, 8)], 1, 0.0, 0),  # a head without processors
        ([], 1, 0.0, 0),
    ],
)
def test_a_cell_needs_room_for_each_worker_on_a_node(
    nodes: list[dict[str, float]], workers: int, gpus: float, cells: int
) -> None:
    assert cells_on(nodes, Devices(workers=workers, gpus=gpus)) == cells


def shares(*wishes: tuple[int, int]) -> list[int]:
    named = {str(number): Wish(most=most, wanted=wanted) for number, (most, wanted) in enumerate(wishes)}
    return list(fair_slots(named).values())


@pytest.mark.parametrize(
    ("wishes", "slots"),
    [
        ([(8, MANY)], [8]),
        ([(8, 3)], [3]),
        ([(8, MANY), (8, MANY)], [4, 4]),
        ([(5, MANY), (5, MANY)], [3, 2]),  # the first has what is left
        ([(8, 1), (8, MANY)], [1, 7]),
        ([(9, 2), (9, MANY), (9, MANY)], [2, 4, 3]),
        ([(2, MANY), (8, MANY)], [1, 4]),  # half a cluster each, whose cells differ in size
        ([(2, MANY)] * 5, [1] * 5),  # more drivers than room: Ray's own queue decides
        ([(4, 0), (4, MANY)], [1, 4]),
        ([(0, MANY), (4, MANY)], [1, 4]),  # what the first needs is still to come
    ],
)
def test_drivers_get_equal_parts_of_what_they_could_run_alone(wishes: list[tuple[int, int]], slots: list[int]) -> None:
    assert shares(*wishes) == slots


@pytest.mark.parametrize("seed", range(100))
def test_parts_are_filled_to_one_level_as_water_would_be(seed: int) -> None:
    draw = random.Random(seed)
    wants = {str(name): draw.uniform(0.01, 1) for name in range(draw.randint(1, 9))}
    parts = _fill(wants)
    if sum(wants.values()) <= 1:
        assert parts == pytest.approx(wants)
    else:
        level = brentq(lambda height: sum(min(want, height) for want in wants.values()) - 1, 0, 1)
        assert parts == pytest.approx({name: min(want, level) for name, want in wants.items()})


@pytest.mark.parametrize("seed", range(200))
def test_shares_fit_the_cluster_and_leave_nothing_that_somebody_wants(seed: int) -> None:
    draw = random.Random(seed)
    room = draw.randint(1, 40)
    wishes = [(room, draw.randint(1, 60)) for _ in range(draw.randint(1, room))]
    slots = shares(*wishes)
    assert all(1 <= slot <= wanted for slot, (_, wanted) in zip(slots, wishes, strict=True))
    assert sum(slots) == min(room, sum(wanted for _, wanted in wishes))
    unmet = [slot for slot, (_, wanted) in zip(slots, wishes, strict=True) if slot < wanted]
    assert not unmet or max(slots) <= min(unmet) + 1
