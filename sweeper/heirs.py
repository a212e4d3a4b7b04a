"""The cells of a sweep that wait for another of its cells, which they or their rate search start from.

Whether a cell has been recorded is asked of others, and nothing is run here.
"""

from collections.abc import Collection

from sweeper.cell import Cell
from sweeper.grid import source_key
from sweeper.job import Failure


class Heirs:
    """Who waits for whom, and whom nobody can start from any more."""

    def __init__(self, declared: Collection[str]) -> None:
        """
        Args:
            declared: keys of all cells of the sweep, those included that are lost; nobody waits for others.
        """
        self._declared = set(declared)
        self._gone: set[str] = set()
        self._waiting: dict[str, list[Cell]] = {}
        """Key of a source -> the cells that wait for it."""

    @property
    def left(self) -> bool:
        """Whether any cell waits."""
        return bool(self._waiting)

    def waits(self, cell: Cell, source: str | None, recorded: Collection[str]) -> bool:
        """Whether a cell has to wait for the cell of this key, and if so lets it."""
        if source is None or source not in self._declared or source in recorded:
            return False
        self._waiting.setdefault(source, []).append(cell)
        return True

    def released(self, recorded: Collection[str]) -> list[Cell]:
        """The cells whose source has been recorded meanwhile; they wait no more."""
        return [heir for key in self._waiting.keys() & recorded for heir in self._waiting.pop(key)]

    def is_gone(self, key: str | None) -> bool:
        """Whether nobody can start from a cell any more."""
        return key in self._gone

    def lose(self, key: str) -> list[Failure]:
        """What becomes of all that were to start from a cell which failed, and from those."""
        self._gone.add(key)
        lost: list[Failure] = []
        for heir in self._waiting.pop(key, []):
            role = "its source" if source_key(heir) == key else "the source of its rate search"
            lost += [Failure(cell=heir, error=f"{role}, cell {key}, failed"), *self.lose(heir.key)]
        return lost
