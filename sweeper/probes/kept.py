"""Features that were made of a state's blocks, read back from the storage a block at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file

from sweeper.probes.fid import Moments, moments
from sweeper.probes.needs import Features, pieces
from sweeper.site import Site


def blocks_of(side: Features, site: Site) -> int:
    """How many blocks a state's features are of."""
    _, path = next(iter(pieces(side, site)))
    with safe_open(path, framework="np") as file:
        return 1 + max(int(name.partition(".")[0]) for name in file.keys())  # noqa: SIM118 (not a dict)


def of_block(side: Features, block: int, site: Site) -> list[np.ndarray]:
    """A block's features of all images, one array per draw (of features that are not drawn there is one)."""
    found: list[list[np.ndarray]] = []
    for _, path in pieces(side, site):
        with safe_open(path, framework="np") as file:
            draws = sorted(int(name.partition(".")[2]) for name in file.keys() if name.startswith(f"{block}."))  # noqa: SIM118
            found.append([file.get_tensor(f"{block}.{draw}") for draw in draws])
    return [np.concatenate(each) for each in zip(*found, strict=True)]


def moments_of(side: Features, site: Site) -> Moments:
    """Of the last block's features, a piece at a time."""
    last = blocks_of(side, site) - 1
    whole: Moments | None = None
    for _, path in pieces(side, site):
        own = moments(load_file(path)[f"{last}.0"])
        whole = own if whole is None else whole + own
    assert whole is not None  # no part of a split is empty
    return whole


def in_pieces(sides: Sequence[Features], block: int, site: Site) -> Iterator[tuple[np.ndarray, ...]]:
    """A block's features by several needs, of the same images, one piece at a time; of features that are not drawn."""
    for paths in zip(*(pieces(side, site) for side in sides), strict=True):
        yield tuple(_of_piece(path, block) for _, path in paths)


def _of_piece(path: Path, block: int) -> np.ndarray:
    with safe_open(path, framework="np") as file:
        return file.get_tensor(f"{block}.0")
