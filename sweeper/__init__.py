"""The front page: everything a search space needs, and nothing that imports more than the standard library."""

from sweeper.cell import L2, Cell, Cka, Images, Knn, LrSearch, Network, Recipe, Weights
from sweeper.grid import Sweep, grid

__all__ = ["L2", "Cell", "Cka", "Images", "Knn", "LrSearch", "Network", "Recipe", "Sweep", "Weights", "grid"]
