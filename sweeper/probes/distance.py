"""How far training moved the weights of each block.

Which tensors count (weights, but no buffers and no normalisation layers) is the caller's to say, since a state's names
do not tell them apart; nothing is averaged over blocks here.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

State = Mapping[str, npt.NDArray[np.generic]] | Mapping[str, torch.Tensor]


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
    _check_alike(start, trained)
    strange = [(block, key) for block, names in keys.items() for key in names if key not in start]
    if strange:
        raise ValueError(f"block {strange[0][0]!r} counts tensor {strange[0][1]!r}, which is not in the states")
    return {
        block: math.fsum(_distance(start[key], trained[key], key) for key in names) / len(names) if names else math.nan
        for block, names in keys.items()
    }


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
