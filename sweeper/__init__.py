"""The front page: everything a search space needs, and nothing that imports more than the standard library.

What knows models by name (`study_index`, `study_indices`) is imported when it is asked for.
"""

import os
from typing import TYPE_CHECKING, Any

from sweeper.cell import Cell, Gabor, Images, LrSearch, Network, Recipe, Weights
from sweeper.choosing import best_rows
from sweeper.grid import Sweep, from_feature_reuse_json, grid
from sweeper.probe_types import (
    L2,
    Agreement,
    Cca,
    Cka,
    Convergence,
    Cost,
    Embedding,
    Fid,
    Filters,
    GradCam,
    Knn,
    Procrustes,
    Reinit,
    Transferability,
)

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
"""torch asks when it makes its first tensor: large ones then lie on pages of 2 MB, if Linux has them. Else a processor
spends three quarters of the time of making a batch of floats on taking memory, page by page (64 images of 224 pixels:
20.7 against 5.3 ms)."""

if TYPE_CHECKING:
    from sweeper.weights import study_index, study_indices

__all__ = [
    "L2",
    "Agreement",
    "Cca",
    "Cell",
    "Cka",
    "Convergence",
    "Cost",
    "Embedding",
    "Fid",
    "Filters",
    "Gabor",
    "GradCam",
    "Images",
    "Knn",
    "LrSearch",
    "Network",
    "Procrustes",
    "Recipe",
    "Reinit",
    "Sweep",
    "Transferability",
    "Weights",
    "best_rows",
    "from_feature_reuse_json",
    "grid",
    "study_index",
    "study_indices",
]


def __getattr__(name: str) -> Any:
    match name:
        case "study_index" | "study_indices":
            from sweeper import weights

            return getattr(weights, name)
    raise AttributeError(f"module 'sweeper' has no attribute '{name}'")
