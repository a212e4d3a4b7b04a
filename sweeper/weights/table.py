"""The sources of weights that a study can name, and what can be judged of one without reading it.

It imports no torch; `sources.py` reads what is listed here and `pouring.py` puts it into a model.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sweeper.cell import NEUTRAL, Weights
from sweeper.grid import nearest
from sweeper.models import MODELS, base_name

Normalisation = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Mean and sd of the three channels, in units where a pixel is 0 to 1."""

HALF: Normalisation = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""Pixels from -1 to 1: for whatever was not trained with another normalisation."""

RADIMAGENET_FILES = {"resnet50": "RadImageNet_pytorch/ResNet50.pt"}
"""Model -> file under the site's data folder, named and laid out as the authors hand it out."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A source that has a name of its own."""

    models: frozenset[str]
    """The models, without tag, that it has weights for."""
    pixels: Normalisation | None
    """How images were normalised for it; None where each model has its own, which timm tells."""
    cite: str
    """Who made it."""


SOURCES: dict[str, Source] = {
    "random": Source(models=frozenset(MODELS), pixels=HALF, cite="the model's own random start"),
    "imagenet": Source(
        models=frozenset(name for name, info in MODELS.items() if info.tags),
        pixels=None,
        cite="Deng et al. 2009; weights of timm (Wightman)",
    ),
    "radimagenet": Source(
        models=frozenset(RADIMAGENET_FILES),
        pixels=HALF,  # the authors' PyTorch weights expect [-1, 1]
        cite="Mei et al. 2022, Radiology: Artificial Intelligence",
    ),
}

SCHEMES = {"cell": "cell:KEY", "registry": "registry:NAME/VERSION", "file": "file:PATH"}
"""Scheme -> how a source of this scheme is written."""


def problem(weights: Weights, model: str) -> str | None:
    """Why these weights cannot be poured into this model, as far as names and the disk tell; None when they can.

    An unknown model is not judged here. Whether a state's tensors fit is only known when they are poured.
    """
    source = weights.source
    scheme, colon, rest = source.partition(":")
    if colon and scheme in SCHEMES:
        return _scheme_problem(scheme, rest)
    if source not in SOURCES:
        return f"source '{source}' is unknown; {nearest(source, [*SOURCES, *SCHEMES.values()])}"
    if model in MODELS and base_name(model) not in SOURCES[source].models:
        return f"source '{source}' has no weights for '{model}'; it has {_listed(SOURCES[source].models)}"
    if source == "random":
        return _random_problem(weights)
    return None


def _random_problem(weights: Weights) -> str | None:
    for axis in ("blocks", "rest"):
        value = getattr(weights, axis)
        if value != NEUTRAL[axis]:
            return f"{axis} is {value!r} with source 'random', which has no values to give; leave {axis} out"
    return None


def _scheme_problem(scheme: str, rest: str) -> str | None:
    source = f"{scheme}:{rest}"
    if scheme == "cell" and not re.fullmatch(r"[0-9a-f]{16}", rest):
        return f"source '{source}' must be written cell:KEY, where KEY is a cell's key of 16 hex digits"
    if scheme == "registry" and not re.fullmatch(r"[^/:]+/[1-9]\d*", rest):
        return f"source '{source}' must be written registry:NAME/VERSION, where VERSION is a number from 1"
    if scheme == "file" and not Path(rest).is_absolute():
        return f"source '{source}' must name an absolute path: workers run in another folder"
    if scheme == "file" and not Path(rest).is_file():
        return f"source '{source}': there is no such file"
    return None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
