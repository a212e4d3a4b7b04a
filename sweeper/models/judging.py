"""Why a network cannot be built, or cannot take images of a size, each in one sentence.

It imports no torch; kinds and ranges of single values are `sweeper.rules`'.
"""

from collections.abc import Callable

from sweeper.cell import NEUTRAL, Network
from sweeper.models.info import ModelInfo
from sweeper.models.table import MODELS, unknown

_MOST_SLIM = 16  # the narrowest layer of the families that slim, the stem of `resnet10t`, has 24 channels


def problem(network: Network, size: int | None = None) -> str | None:
    """What is wrong with a network, or with images of `size` pixels for it; None when nothing is."""
    wrong = unknown(network.model)
    if wrong:
        return wrong
    info = MODELS[network.model]
    found = next(filter(None, (judge(network, info) for judge in _JUDGES)), None)
    return found if found or size is None else _size_problem(network, info, size) or _cut_problem(network, info, size)


def _depth_problem(network: Network, info: ModelInfo) -> str | None:
    count = info.blocks[network.grain]
    if network.depth is None or 1 <= network.depth <= count:
        return None
    return f"depth {network.depth} of '{network.model}' is impossible: at grain '{network.grain}' it is 1 to {count}"


def _width_problem(network: Network, info: ModelInfo) -> str | None:
    if network.width is None or info.shape:
        return None
    return f"width {network.width} of '{network.model}' is impossible: the cbr_* models alone have one; leave it out"


def _slim_problem(network: Network, info: ModelInfo) -> str | None:
    slim, model = network.slim, network.model
    if slim is None:
        if network.slim_factor == NEUTRAL["slim_factor"]:
            return None
        return f"slim_factor={network.slim_factor} slims nothing of '{model}' without slim; leave it out, or give slim"
    if info.family not in ("densenet", "resnet"):
        return f"slim={slim} of '{model}' is impossible: only ResNets and DenseNets have slim variants"
    if info.family == "densenet" and network.grain == "layer":
        return f"slim={slim} of '{model}' is impossible at grain 'layer': a DenseNet is slimmed at grain 'block'"
    kept = network.depth or info.blocks[network.grain]
    if not 0 <= slim <= kept:
        return f"slim={slim} of '{model}' is impossible: it is 0 to {kept}, the {network.grain}s that are kept"
    if not 1 <= network.slim_factor <= _MOST_SLIM:
        return f"slim_factor={network.slim_factor} of '{model}' is impossible: it is 1 to {_MOST_SLIM}"
    return None


def _size_problem(network: Network, info: ModelInfo, size: int) -> str | None:
    cut = f"depth {network.depth} of '{network.model}'" if network.depth else f"'{network.model}'"
    smallest = info.smallest(network.depth, network.grain)
    if size < smallest:
        return f"size {size} is too small for {cut}: it needs images of at least {smallest} pixels"
    if size % info.multiple:
        return f"size {size} is impossible for {cut}: it must be a multiple of {info.multiple} pixels"
    return None


def _cut_problem(network: Network, info: ModelInfo, size: int) -> str | None:
    """Of models that only a pass through them can judge; takes seconds."""
    if info.family != "generic":
        return None
    from sweeper.models import generic

    return generic.problem(network, size)


_JUDGES: tuple[Callable[[Network, ModelInfo], str | None], ...] = (_depth_problem, _width_problem, _slim_problem)
