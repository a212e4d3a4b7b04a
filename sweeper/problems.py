"""What the rooms know to be wrong with a study's cells: names, impossible combinations, sources that are not there.

Whether values are of the right kind and range is `grid.check`'s business; nothing is read but the record of sources.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

from sweeper import data, models, store, weights
from sweeper.cell import Cell, Images, Network, Weights
from sweeper.grid import StudyError, Sweep, nearest, source_key
from sweeper.site import Site


def problems(cell: Cell) -> Iterator[str]:
    """What the rooms know to be wrong with a cell."""
    yield from _image_problems(cell.images)
    yield from _network_problems(cell.network, cell.weights, cell.images.size, cell.recipe.frozen)


@lru_cache(maxsize=4096)
def _image_problems(images: Images) -> tuple[str, ...]:
    found = []
    if images.dataset not in data.DATASETS:
        found.append(f"dataset '{images.dataset}' is unknown; {nearest(images.dataset, data.DATASETS)}")
    if images.augment not in data.AUGMENT_NAMES:
        found.append(f"augment '{images.augment}' is unknown; {nearest(images.augment, data.AUGMENT_NAMES)}")
    return tuple(found)


@lru_cache(maxsize=4096)
def _network_problems(network: Network, start: Weights, size: int, frozen: int) -> tuple[str, ...]:
    trouble = models.problem(network, size)
    if trouble:
        return (trouble,)
    kept = network.depth or models.MODELS[network.model].blocks[network.grain]
    counted = (("blocks", start.blocks), ("frozen", frozen))
    found = [
        f"{axis}={value} is impossible: only {kept} {network.grain}s of '{network.model}' are kept"
        for axis, value in counted
        if value is not None and value > kept
    ]
    unfit = weights.problem(start, network.model)
    return (*found, unfit) if unfit else tuple(found)


def check_sources(sweeps: Sequence[Sweep], site: Site) -> None:
    """Every `cell:KEY` is a cell of this file, declared no later than it is used, or a finished one."""
    declared: dict[str, Cell] = {}
    mistakes: dict[str, None] = {}
    for sweep in sweeps:
        declared |= {cell.key: cell for cell in sweep.cells}
        for cell in sweep.cells:
            key = source_key(cell)
            if key is not None and key in declared:
                mistakes |= dict.fromkeys(_source_problems(cell, declared[key]))
            elif key is not None:
                store.state_path(key, "best", site)
    if mistakes:
        raise StudyError("\n".join(mistakes))


def _source_problems(cell: Cell, source: Cell) -> Iterator[str]:
    own, other = cell.network, source.network
    if own.model != other.model:
        yield f"a cell with model '{own.model}' cannot start from cell {source.key}, whose model is '{other.model}'"
    elif other.depth is not None and (own.depth is None or own.grain != other.grain or own.depth > other.depth):
        yield (
            f"a cell of depth {own.depth} cannot start from cell {source.key}, "
            f"which was cut at {other.depth} {other.grain}s"
        )
