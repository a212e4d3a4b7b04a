"""Where a model's starting values come from, and how they get into it.

The tables are plain values; torch and timm are imported when weights are read or poured. Training is not done here.
"""

from typing import TYPE_CHECKING, Literal

from sweeper.cell import Images, Network, Weights
from sweeper.site import Site
from sweeper.weights.judging import head_problem, problem
from sweeper.weights.pixels import PIXELS, Pixels
from sweeper.weights.study import study_index, study_indices
from sweeper.weights.table import SCHEMES, SOURCES, Source

if TYPE_CHECKING:
    from sweeper.models.classifier import Classifier
    from sweeper.weights.heads import Head
    from sweeper.weights.report import LoadReport

__all__ = [
    "PIXELS",
    "SCHEMES",
    "SOURCES",
    "Pixels",
    "Source",
    "head_problem",
    "pixels_of",
    "pour",
    "problem",
    "source_head",
    "study_index",
    "study_indices",
]


def pixels_of(images: Images, source: str, model: str, site: Site) -> Pixels:
    """How a cell's pixels are normalised: as its images say, or as its source's weights were trained.

    Raises:
        ValueError: when the source cannot serve the model, no such way is known, or a state of ours does not say what
            it was trained with.
    """
    from sweeper.weights import sources

    return sources.pixels_of(images, source, model, site)


def pour(
    weights: Weights, model: "Classifier", *, seed: int, site: Site, order: Literal["rgb", "bgr"] = "rgb"
) -> "LoadReport":
    """Fills the model in place with its starting values and says what became of each tensor.

    Args:
        order: of the channels as the model will see them, for coloured Gabor filters.

    Raises:
        ValueError: when the source cannot serve the model, or its tensors do not fit.
    """
    from sweeper.weights import pouring

    return pouring.pour(weights, model, seed=seed, site=site, order=order)


def source_head(source: str, network: Network, site: Site) -> "Head":
    """The linear head over its own classes that a source was trained with, for a network that starts as all of it.

    Raises:
        ValueError: when the source has none, or one of another network or of labels of which an image has several.
    """
    from sweeper.weights import heads

    return heads.source_head(source, network, site)
