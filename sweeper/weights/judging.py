"""Why weights cannot be poured into a model, as far as names and the disk tell.

Nothing is read: whether a state's tensors fit is only known when they are poured.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from sweeper.cell import NEUTRAL, Network, Weights
from sweeper.models import MODELS, base_name, family_of
from sweeper.rules import nearest
from sweeper.weights.pixels import PIXELS
from sweeper.weights.table import DINO_TAGS, SCHEMES, SOURCES


def problem(
    weights: Weights, model: str, *, slim: int | None = None, input: str = "rgb", pixels: str = "source"
) -> str | None:
    """Why these weights cannot be poured into this model; None when they can.

    An unknown model is not judged here.

    Args:
        slim: the network's.
        input: the network's.
        pixels: the images'.
    """
    if pixels != "source" and pixels not in PIXELS:
        return f"pixels '{pixels}' is unknown; {nearest(pixels, ['source', *PIXELS])}"
    scheme, colon, rest = weights.source.partition(":")
    written = colon and scheme in SCHEMES
    wrong = _scheme_problem(scheme, rest) if written else _name_problem(weights, model)
    return wrong or next(_combinations(weights, slim, input, pixels), None)


def head_problem(weights: Weights, network: Network) -> str | None:
    """Why a source's own head does not fit the features that a network starts with; None when it may."""
    source = weights.source
    if source in SOURCES and not (SOURCES[source].head and family_of(network.model) != "alexnet"):
        return f"source '{source}' has no head of its own classes for '{network.model}'"
    depth = None if network.depth == MODELS[network.model].blocks[network.grain] else network.depth
    whole = (depth, network.slim, network.width, network.input) == (None, None, None, "rgb")
    if weights != Weights(source=source) or (source in SOURCES and not whole):
        return f"the start is not the whole of source '{source}', whose head would see other features"
    return None


def _name_problem(weights: Weights, model: str) -> str | None:
    source = weights.source
    if source not in SOURCES:
        return f"source '{source}' is unknown; {nearest(source, [*SOURCES, *SCHEMES.values()])}"
    if model in MODELS and not _serves(source, model):
        return f"source '{source}' has no weights for '{model}'; it has {_listed(SOURCES[source].models)}"
    if source == "random":
        return _random_problem(weights)
    return None


def _serves(source: str, model: str) -> bool:
    base, _, tag = model.partition(".")
    if source == "dino" and tag and model != DINO_TAGS.get(base):
        return False
    if base in SOURCES[source].models:
        return True
    # timm's other models: nothing but their own weights, or none
    return MODELS[model].family == "generic" and (source == "random" or (source == "imagenet" and _has_tags(model)))


def _has_tags(model: str) -> bool:
    return bool(MODELS[base_name(model)].tags)


def _random_problem(weights: Weights) -> str | None:
    for axis in ("blocks", "rest", "norms", "tables"):
        value = getattr(weights, axis)
        if value != NEUTRAL[axis]:
            return f"{axis} is {value!r} with source 'random', which has no values to give; leave {axis} out"
    return None


def _combinations(weights: Weights, slim: int | None, input: str, pixels: str) -> Iterator[str]:
    if slim is not None and weights.blocks is not None and weights.blocks > slim:
        yield (
            f"blocks={weights.blocks} with slim={slim}: only the first {slim} blocks keep the width of the source's; "
            f"ask for at most {slim}, or leave blocks out"
        )
    if slim is not None and weights.rest != "random":
        yield (
            f"rest is '{weights.rest}' with slim={slim}: slimmed blocks have other shapes than the source's tensors; "
            "leave rest out"
        )
    if weights.tables == "draw" and weights.rest == "random":
        yield "tables is 'draw' with rest 'random', which draws nothing from the source; leave tables out"
    if weights.gabor and input != "rgb" and set(weights.gabor.colours) != {"grey"}:
        yield f"Gabor has colours={weights.gabor.colours} with input='{input}', one channel: use colours=('grey',)"
    known = SOURCES[weights.source].pixels if pixels == "source" and weights.source in SOURCES else PIXELS.get(pixels)
    if known and input == "red" and known.order == "bgr":
        yield "input 'red' takes the filters of the first channel, which is blue with these pixels; use input='sum'"


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
