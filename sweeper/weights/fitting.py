"""Makes a source's tensors fit a model where there is one right way to, and says what does not fit.

A first layer for another number of channels and a position table for another image size are adapted; any other shape
is an error. Nothing is written into the model.
"""

from collections.abc import Sequence

from torch import Tensor

from sweeper import models
from sweeper.models.classifier import Classifier

_SHOWN = 3


def resample_tables(model: Classifier, state: dict[str, Tensor], keys: Sequence[str]) -> list[str]:
    """Replaces, in `state`, the position tables that are of another image size; their keys.

    As timm does when it loads weights: absolute tables by bicubic interpolation of the grid, relative ones by
    interpolation over distances.
    """
    own = model.state_dict()
    resampled = []
    for key in keys:
        table, shape = state.get(key), own[key].shape
        if table is None or table.shape == shape or table.ndim != len(shape) or table.shape[-1] != shape[-1]:
            continue  # what else may be wrong with it, `misfits` tells
        if key.endswith(".pos_embed"):
            state[key] = _resample_absolute(model, table)
        elif key.endswith(".relative_position_bias_table"):
            state[key] = _resample_relative(model, key, table)
        else:
            continue
        resampled.append(key)
    return resampled


def adapt_channels(model: Classifier, tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """A first layer's weight for the model's number of channels; as it is where that is the tensor's already.

    From three channels to one: the first channel's filters (Matsoukas et al. 2022) or their sum, as `network.input`
    says. From one to three: a third of it for each, which sees grey as the one did.
    """
    if tensor.shape[1] == shape[1]:
        return tensor
    if shape[1] == 3:
        return tensor.expand(-1, 3, -1, -1) / 3
    return tensor[:, :1] if model.network.input == "red" else tensor.sum(dim=1, keepdim=True)


def misfits(model: Classifier, state: dict[str, Tensor], keys: Sequence[str]) -> str:
    """How many of the tensors that are asked of the source are missing or have another shape, naming the first ones.

    Empty where all fit, the first layer after `adapt_channels`.
    """
    own, first = model.state_dict(), models.first_weight(model)
    missing = [_plain(key) for key in keys if key not in state]
    misshapen = [
        f"{_plain(key)} {tuple(state[key].shape)} for {tuple(own[key].shape)}"
        for key in keys
        if key in state
        and state[key].shape != own[key].shape
        and not (key == first and _is_adaptable(state[key].shape, own[key].shape))
    ]
    parts = [
        f"{len(found)} of {len(keys)} {kind} ({shown(found)})"
        for found, kind in ((missing, "are missing"), (misshapen, "have another shape"))
        if found
    ]
    return " and ".join(parts)


def shown(names: Sequence[str]) -> str:
    """The first few names, for an error."""
    return f"{', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"


def _is_adaptable(given: Sequence[int], shape: Sequence[int]) -> bool:
    others = len(given) == len(shape) == 4 and (given[0], *given[2:]) == (shape[0], *shape[2:])
    return others and {given[1], shape[1]} == {1, 3}


def _resample_absolute(model: Classifier, table: Tensor) -> Tensor:
    from timm.layers.pos_embed import resample_abs_pos_embed

    backbone = model.backbone
    prefix = 0 if getattr(backbone, "no_embed_class", False) else getattr(backbone, "num_prefix_tokens", 1)
    grid = list(backbone.get_submodule("patch_embed").grid_size)  # type: ignore[arg-type]
    return resample_abs_pos_embed(table, new_size=grid, num_prefix_tokens=prefix)


def _resample_relative(model: Classifier, key: str, table: Tensor) -> Tensor:
    from timm.layers.pos_embed_rel import resize_rel_pos_bias_table

    module = model.get_submodule(key.rpartition(".")[0])
    shape = tuple(model.state_dict()[key].shape)
    return resize_rel_pos_bias_table(table, new_window_size=module.window_size, new_bias_shape=shape)  # type: ignore[arg-type]


def _plain(key: str) -> str:
    return key.partition(".")[2]  # without `backbone`
