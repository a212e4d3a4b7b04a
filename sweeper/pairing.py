"""What a study's probes ask, one by one: of which cell, or pair of cells. It runs nothing, and imports no torch."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

from sweeper.cell import AXES, Cell, Images, digest, probe_key
from sweeper.probe_types import Fid, Probe


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One probe of one cell, or of a pair; its rows are stored with the first."""

    probe: Probe
    cell: Cell
    other: Cell | None = None

    @cached_property
    def key(self) -> str:
        """16 hex digits that its rows are stored under, unique among those of its cell."""
        return digest([probe_key(self.probe), self.other.key]) if self.other else probe_key(self.probe)

    @property
    def cells(self) -> tuple[Cell, ...]:
        return (self.cell, self.other) if self.other else (self.cell,)

    def title(self) -> str:
        """A name for people."""
        return f"{self.probe.name} of {' and '.join(cell.title() for cell in self.cells)}"


def asks(cells: Sequence[Cell], probes: Sequence[Probe]) -> list[Ask]:
    """Everything that is asked; what is asked of cells that differ only in axes to be compared across comes together.

    A pair's first cell is the one that comes first among the cells; of cells that are equal but for the axes, every
    two are a pair, whatever the number of those axes in which they differ.
    """
    axes = tuple(dict.fromkeys(axis for probe in probes for axis in axes_across(probe)))
    found = []
    for family in _families(cells, axes):
        found += [Ask(probe=probe, cell=cell) for cell in family for probe in probes if not axes_across(probe)]
        found += [ask for probe in probes if axes_across(probe) for ask in _pairs(family, probe)]
    return found


def axes_across(probe: Probe) -> tuple[str, ...]:
    """The axes in which the two cells of a pair differ; none for a probe of single cells."""
    across = getattr(probe, "across", None)
    return (across,) if isinstance(across, str) else tuple(across or ())


def other_images(cells: Sequence[Cell], probes: Sequence[Probe]) -> Iterator[Images]:
    """What probes show beside the cells' own images."""
    for probe in probes:
        if isinstance(probe, Fid):
            sizes = dict.fromkeys(cell.images.size for cell in cells)
            yield from (Images(dataset=probe.to, fold=probe.to_fold, size=size) for size in sizes)


def _pairs(cells: Sequence[Cell], probe: Probe) -> Iterator[Ask]:
    for family in _families(cells, axes_across(probe)):
        yield from (Ask(probe=probe, cell=first, other=second) for first, second in combinations(family, 2))


def _families(cells: Sequence[Cell], axes: tuple[str, ...]) -> list[list[Cell]]:
    """The cells by their values of all other axes."""
    if not axes:
        return [[cell] for cell in cells]
    families: dict[Any, list[Cell]] = defaultdict(list)
    for cell in cells:
        row = {axis: getattr(getattr(cell, AXES[axis], cell) if axis != "seed" else cell, axis) for axis in AXES}
        families[tuple(value for axis, value in row.items() if axis not in axes)].append(cell)
    return list(families.values())
