"""Where a model's starting values come from, and how they get into it.

The table is plain values; torch and timm are imported when weights are read or poured. Training is not done here.
"""

from typing import TYPE_CHECKING

from sweeper.cell import Weights
from sweeper.site import Site
from sweeper.weights.table import SCHEMES, SOURCES, Normalisation, Source, problem

if TYPE_CHECKING:
    from sweeper.models.classifier import Classifier
    from sweeper.weights.pouring import Poured

__all__ = ["SCHEMES", "SOURCES", "Normalisation", "Source", "normalisation", "pour", "problem"]


def normalisation(source: str, model: str, site: Site) -> Normalisation:
    """Mean and sd of each channel, in units where a pixel is 0 to 1, that the source's weights were trained with.

    Raises:
        ValueError: when the source cannot serve the model, or a state of ours does not say what it was trained with.
    """
    from sweeper.weights import sources

    return sources.normalisation(source, model, site)


def pour(weights: Weights, model: "Classifier", *, seed: int, site: Site) -> "Poured":
    """Fills the model in place with its starting values and says how many tensors were treated how.

    Raises:
        ValueError: when the source cannot serve the model, or its tensors do not fit.
    """
    from sweeper.weights import pouring

    return pouring.pour(weights, model, seed=seed, site=site)
