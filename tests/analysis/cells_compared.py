"""Frames of cells with known scores, as `frames.runs` has them, for the tests of comparisons."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.frames import axes_frame
from sweeper.cell import Cell
from sweeper.grid import grid


def cells_of(**axes: Any) -> list[Cell]:
    """Cells of two sources, five folds and three seeds, unless told otherwise."""
    usual = dict(dataset=["breastmnist", "digits"], model="cbr_mini", source=["random", "imagenet"])
    return list(grid(**(usual | dict(fold=range(1, 6), seed=range(3)) | axes)))


def frame_of(cells: Sequence[Cell], score: Callable[[Cell], float], metric: str = "test_auroc") -> pd.DataFrame:
    """One row a cell."""
    frame = axes_frame(cells)
    frame.insert(0, "key", [cell.key for cell in cells])
    frame.insert(0, "study", "compared")
    prints = [f"{cell.images.dataset} {cell.images.size}" for cell in cells]
    return frame.assign(**{metric: [score(cell) for cell in cells]}, fingerprint=prints)


def noisy(cell: Cell, *, gain: float = 0.05) -> float:
    """A score that is different for every cell, better with a source."""
    draw = np.random.default_rng(int(cell.key, 16)).normal(0, 0.01)
    return 0.8 + gain * (cell.weights.source != "random") + draw
