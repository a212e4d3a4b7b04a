"""Which node of a cluster has read which images, so that the next job for it can be one of those.

The cache of decoded images lies on each node's own disk: a node's first job of a data set decodes it. Ray is not known
here; a node is a name.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

from sweeper.cell import Cell

Entry = TypeVar("Entry", bound=tuple[Any, ...])

NEARLY = 0.9
"""Jobs that take at least this share of the longest one's time may go before it."""
LOOKED_AT = 16
"""Of a queue's first entries, so that a choice takes the same time however long the queue is."""


class Held:
    """The images that each node has read since this began."""

    def __init__(self) -> None:
        self._nodes: dict[str, set[tuple[str, int]]] = defaultdict(set)

    def note(self, node: str, cell: Cell) -> None:
        """Remembers that a node has read a cell's images."""
        self._nodes[node].add(_images(cell))

    def has(self, node: str, cell: Cell) -> bool:
        """Whether a node has read a cell's images; one whose name is empty is not known."""
        return _images(cell) in self._nodes.get(node, ())


def take(queue: list[Entry], is_held: Callable[[Entry], bool]) -> Entry:
    """Takes out the first of a heap's entries, or one that is nearly as long and held.

    So the longest still goes first up to a tenth of its time: no job begins before one that takes more than 1 / 0.9 as
    long, and the end comes at most a tenth of one job later than without.

    Args:
        queue: a heap of tuples that begin with an expected time, its sign turned.
        is_held: whether an entry's images are where it would run.
    """
    passed: list[Entry] = []
    limit = NEARLY * queue[0][0]
    while queue and queue[0][0] <= limit and len(passed) < LOOKED_AT:
        passed.append(heapq.heappop(queue))
        if is_held(passed[-1]):
            break
    chosen = passed.pop() if is_held(passed[-1]) else passed.pop(0)
    for entry in passed:
        heapq.heappush(queue, entry)
    return chosen


def _images(cell: Cell) -> tuple[str, int]:
    """What an entry of the cache is of: one data set at one size."""
    return cell.images.dataset, cell.images.size
