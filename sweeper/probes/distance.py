"""How far training moved the weights of each block: as Matsoukas et al. 2022 have it, relatively, in direction.

Which tensors count (weights, but no buffers and no normalisation layers) is the caller's to say, since a state's names
do not tell them apart.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

State = Mapping[str, npt.NDArray[np.generic]] | Mapping[str, torch.Tensor]
Sums = tuple[float, float, float, float]
"""Over elements, in float64: start^2, trained^2, (trained - start)^2 and start x trained."""


def l2_by_block(start: State, trained: State, keys: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Per block, the mean over its tensors of ||trained - start||_F / number of elements, computed in float64.

    As Matsoukas et al. 2022 intended it: every block has its own value, from its own tensors. A block without any such
    tensor (all normalisation or pooling) has no distance: NaN.

    Args:
        start: tensor name -> values before training, numpy or torch.
        trained: the same names and shapes after training.
        keys: block -> names of its weight tensors; blocks come out in this order.

    Raises:
        ValueError: the states differ in names or shapes, a key is in neither, or a distance is not finite.
    """
    _check(start, trained, keys)
    return {
        block: math.fsum(_distance(start[key], trained[key], key) for key in names) / len(names) if names else math.nan
        for block, names in keys.items()
    }


def l2_total(distances: Mapping[str, float]) -> float:
    """The mean of `l2_by_block` over the blocks that have a distance: `total`; NaN where none has one."""
    told = [distance for distance in distances.values() if not math.isnan(distance)]
    return math.fsum(told) / len(told) if told else math.nan


def relative_l2_by_block(start: State, trained: State, keys: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Per block, ||trained - start|| / ||start|| over all elements of its tensors as one vector: >= 0, no unit.

    1 is as far as from the start to zero. Unlike `l2_by_block` it changes neither with the number of elements nor with
    a factor common to both states. NaN for a block without tensors, or that starts at zero, from where no distance is
    relative.

    Arguments and refusals are those of `l2_by_block`.
    """
    return {
        block: math.sqrt(moved) / math.sqrt(before) if before else math.nan
        for block, (before, _, moved, _) in _products(start, trained, keys).items()
    }


def cosine_by_block(start: State, trained: State, keys: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Per block, the cosine of the angle between start and trained, all elements of its tensors being one vector.

    Within [-1, 1]; near 0 for two unrelated draws around zero. NaN for a block without tensors, or that is zero in one
    of the states and so has no direction there.

    Arguments and refusals are those of `l2_by_block`.
    """
    return {
        block: max(-1.0, min(1.0, inner / (math.sqrt(before) * math.sqrt(after)))) if before and after else math.nan
        for block, (before, after, _, inner) in _products(start, trained, keys).items()
    }


def _products(start: State, trained: State, keys: Mapping[str, Sequence[str]]) -> dict[str, Sums]:
    _check(start, trained, keys)
    found = {}
    for block, names in keys.items():
        each = [_sums(start[key], trained[key], key) for key in names]
        before, after, moved, inner = (math.fsum(sums[place] for sums in each) for place in range(4))
        found[block] = (before, after, moved, inner)
    return found


def _sums(start: object, trained: object, key: str) -> Sums:
    before, after = (torch.as_tensor(values).detach().double().cpu().flatten() for values in (start, trained))
    moved = after - before
    sums = (float(before @ before), float(after @ after), float(moved @ moved), float(before @ after))
    if not all(map(math.isfinite, sums)):
        raise ValueError(f"tensor {key!r} holds values that are not finite; look for a run that diverged")
    return sums


def _check(start: State, trained: State, keys: Mapping[str, Sequence[str]]) -> None:
    _check_alike(start, trained)
    strange = [(block, key) for block, names in keys.items() for key in names if key not in start]
    if strange:
        raise ValueError(f"block {strange[0][0]!r} counts tensor {strange[0][1]!r}, which is not in the states")


def _check_alike(start: State, trained: State) -> None:
    odd = sorted(set(start) ^ set(trained))
    if odd:
        where = "the starting" if odd[0] in start else "the trained"
        raise ValueError(
            f"the states are of different models: {len(odd)} names differ ({odd[0]!r} only in {where} state)"
        )
    for key in start:
        if tuple(start[key].shape) != tuple(trained[key].shape):
            shapes = f"{tuple(start[key].shape)} at the start and {tuple(trained[key].shape)} after training"
            raise ValueError(f"the states are of different models: tensor {key!r} is {shapes}")


def _distance(start: object, trained: object, key: str) -> float:
    before, after = (torch.as_tensor(values).detach().double().cpu() for values in (start, trained))
    distance = float(torch.linalg.vector_norm(after - before)) / before.numel()
    if not math.isfinite(distance):
        raise ValueError(f"tensor {key!r} holds values that are not finite; look for a run that diverged")
    return distance
