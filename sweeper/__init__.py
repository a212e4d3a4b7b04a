"""The front page: everything a search space needs, and nothing that imports more than the standard library.

What knows models by name (`study_index`, `study_indices`) is imported when it is asked for.
"""

from typing import TYPE_CHECKING, Any

from sweeper.cell import Cell, Gabor, Images, LrSearch, Network, Recipe, Weights
from sweeper.choosing import best_rows
from sweeper.grid import Sweep, from_feature_reuse_json, grid
from sweeper.probe_types import L2, Agreement, Cca, Cka, Fid, Knn, Procrustes, Reinit, Transferability

if TYPE_CHECKING:
    from sweeper.weights import study_index, study_indices

__all__ = [
    "L2",
    "Agreement",
    "Cca",
    "Cell",
    "Cka",
    "Fid",
    "Gabor",
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
