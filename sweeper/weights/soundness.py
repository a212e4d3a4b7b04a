"""Refuses a source's state that cannot be what it says: numbers that are none, and norm layers that saw no images.

Whether its tensors fit a model is not asked here.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sweeper.weights.fitting import shown

_MEAN, _VARIANCE = "running_mean", "running_var"


def check_sound(state: Mapping[str, Tensor], source: str) -> None:
    """Raises ValueError, naming the tensors, when values are not finite or batch norms cannot have seen images.

    A running variance must be above 0; running means of 0 and variances of 1 in every layer are those of a network that
    was never trained.
    """
    endless = [name for name, tensor in state.items() if not _is_finite(tensor)]
    if endless:
        raise ValueError(f"source '{source}' has values that are not finite in {shown(endless)}: take another file")
    variances = _ending(state, _VARIANCE)
    dead = [name for name in variances if not bool((state[name] > 0).all())]
    if dead:
        raise ValueError(f"source '{source}' has batch norms whose variance is not above 0 ({shown(dead)})")
    means = _ending(state, _MEAN)
    if (
        variances
        and all(bool((state[name] == 1).all()) for name in variances)
        and not any(bool(state[name].any()) for name in means)
    ):
        raise ValueError(
            f"source '{source}' has batch norms that never saw an image: every running mean is 0 and every variance 1 "
            f"({shown(variances)}); name a trained state"
        )


def _ending(state: Mapping[str, Tensor], name: str) -> Sequence[str]:
    return [key for key in state if key.rpartition(".")[2] == name]


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
