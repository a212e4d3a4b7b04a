"""Jobs go to nodes that have read their images, as far as the longest still go first."""

import heapq
import random

import pytest
from queueing import CELL, SEARCH, Begin, seeds

from sweeper.affinity import LOOKED_AT, NEARLY, Held, take
from sweeper.cell import Cell
from sweeper.job import CellJob, Job, RateJob

OTHER = CELL.replace(dataset="digits_0_4")


def dataset_of(job: Job) -> str:
    return (job.cell if isinstance(job, CellJob) else job.ask.cell).images.dataset


def drawn_queue(draw: random.Random) -> list[tuple[float, int, bool]]:
    queue = [(-draw.choice([1.0, 5.0, 9.5, 10.0]), order, draw.random() < 0.3) for order in range(40)]
    heapq.heapify(queue)
    return queue


@pytest.mark.parametrize("seed", range(50))
def test_what_is_taken_is_the_first_that_is_held_of_those_nearly_as_long_as_the_longest(seed: int) -> None:
    queue = drawn_queue(random.Random(seed))
    while queue:
        before = sorted(queue)
        window = [entry for entry in before[:LOOKED_AT] if -entry[0] >= NEARLY * -before[0][0]]
        chosen = take(queue, lambda entry: entry[2])
        assert chosen == next((entry for entry in window if entry[2]), before[0])
        assert sorted([*queue, chosen]) == before


def test_without_anything_held_the_order_is_that_of_the_heap() -> None:
    queue = drawn_queue(random.Random(0))
    expected = sorted(queue)
    assert [take(queue, lambda entry: False) for _ in expected] == expected


def test_a_node_holds_what_it_has_read_at_that_size_alone() -> None:
    held = Held()
    held.note("one", CELL)
    assert held.has("one", CELL.replace(seed=7, model="resnet18"))
    assert not held.has("one", CELL.replace(size=16))
    assert not held.has("one", OTHER)
    assert not held.has("two", CELL)
    assert not held.has("", CELL)


def test_each_node_keeps_to_the_data_set_that_it_has_read(begin: Begin) -> None:
    """However the file mixes them; without a node's name the queue goes in the file's order."""
    cells: list[Cell] = [*seeds(10), *seeds(10, OTHER)]
    random.Random(1).shuffle(cells)
    queue = begin(cells, slots=2)
    running = {"one": queue.take(), "two": queue.take()}
    if dataset_of(running["one"]) == dataset_of(running["two"]):
        queue.finish(running["two"], node="two")
        running["two"] = next(job for job in iter(queue.take, None) if dataset_of(job) != dataset_of(running["one"]))
    own = {node: dataset_of(job) for node, job in running.items()}
    read: dict[str, list[str]] = {"one": [], "two": []}
    for _ in range(5):
        for node in ("one", "two"):
            queue.finish(running[node], node=node)
            running[node] = queue.take(node)
            read[node].append(dataset_of(running[node]))
    assert read == {node: [own[node]] * 5 for node in own}


def test_a_longer_cell_of_a_new_data_set_goes_before_one_that_is_held(begin: Begin) -> None:
    queue = begin([CELL.replace(seed=1), CELL.replace(epochs=50), OTHER.replace(epochs=40)])
    queue.finish(queue.take(), seconds=50.0, node="one")
    assert dataset_of(queue.take("one")) == "digits_0_4"


def test_rate_trials_go_to_the_node_that_has_read_their_images(begin: Begin) -> None:
    queue = begin([CELL.replace(lr=SEARCH), OTHER.replace(lr=SEARCH)])
    first = queue.take_trial()
    queue.finish(first, node="one")
    queue.jobs.next()
    other = next(job for job in iter(queue.take, None) if dataset_of(job) != dataset_of(first))
    queue.finish(other, node="two")
    job = queue.take("two")
    assert isinstance(job, RateJob)
    assert dataset_of(job) == dataset_of(other)


def test_what_could_run_at_once_counts_what_runs_and_what_is_ready(begin: Begin) -> None:
    queue = begin([*seeds(3), CELL.replace(lr=SEARCH)])
    assert queue.jobs.wanted == 3 + 1  # a search that is not begun counts once
    taken = [queue.take() for _ in range(4)]
    assert queue.jobs.wanted >= len(taken)
    for job in taken:
        queue.finish(job)
    queue.finish_all()
    assert queue.jobs.wanted == 0
