"""Reads weights that Keras saved, `*_notop.h5`, into timm's names, shapes and norm layers.

Layers are matched by their names, those of Inception-v3, which Keras only numbers, by their numbers; never by their
order in the file. What differs between the two networks:

- Kernels are (height, width, in, out) there. The bias of a convolution, which timm's have not, moves into the running
  mean of the norm layer behind it, and Keras's epsilon into the running variance: exact but for rounding.
- Keras's ResNet-50 has the stride of a stage in the first 1x1 convolution of its first block, timm's in the 3x3 one: at
  strides of 2 the same filters see other positions, so from the second stage on features differ from Keras's.
- Keras's average pools leave out the margin, timm's Inception-v3 counts it as zeros: features differ at the margins of
  the pooled branches. DenseNet-121 is the same network.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

_EPSILONS = {"resnet50": (1.001e-5, 1e-5), "densenet121": (1.001e-5, 1e-5), "inception_v3": (1e-3, 1e-3)}
"""Model -> what is added to a variance, in Keras's network and in timm's."""

Layers = dict[str, dict[str, Tensor]]
"""Layer -> short name of a tensor (`kernel`, `gamma`, ...) -> values, float64."""


def read_keras(path: Path, model: str) -> dict[str, Tensor]:
    """The tensors of a Keras file by timm's names, float32.

    Args:
        model: `resnet50`, `densenet121` or `inception_v3`.

    Raises:
        ValueError: when the file is no such file, or holds a layer that the model has not.
    """
    layers = _read_layers(path)
    name = _NAMES[model](layers)
    state: dict[str, Tensor] = {}
    biases: dict[str, Tensor] = {}
    for layer, tensors in layers.items():
        target = name(layer)
        if target is None:
            raise ValueError(f"{path} is no Keras file of '{model}' without its head: '{layer}' is no layer of it")
        if "kernel" in tensors:
            state[f"{target}.weight"] = tensors["kernel"].permute(3, 2, 0, 1)
            if "bias" in tensors:
                biases[_norm_behind(target)] = tensors["bias"]
        else:
            state |= _norm(target, tensors, *_EPSILONS[model])
    for norm, bias in biases.items():
        state[f"{norm}.running_mean"] = state[f"{norm}.running_mean"] - bias
    return {
        key: (tensor.float() if tensor.is_floating_point() else tensor).contiguous() for key, tensor in state.items()
    }


def _read_layers(path: Path) -> Layers:
    import h5py

    try:
        with h5py.File(path) as file:
            if "layer_names" not in file.attrs:
                raise ValueError(f"{path} is no file of Keras weights: it has no attribute 'layer_names'")
            names = [_text(name) for name in np.asarray(file.attrs["layer_names"])]
            read = {name: _read_layer(file[name]) for name in names}
    except (OSError, KeyError) as error:
        raise ValueError(f"{path} cannot be read as a file of Keras weights: {error}") from error
    return {name: tensors for name, tensors in read.items() if tensors}


def _read_layer(group: Any) -> dict[str, Tensor]:
    paths = [_text(path) for path in group.attrs["weight_names"]]
    return {path.rpartition("/")[2].partition(":")[0]: torch.from_numpy(group[path][()]).double() for path in paths}


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _norm(target: str, tensors: Mapping[str, Tensor], theirs: float, ours: float) -> dict[str, Tensor]:
    """A norm layer; one that Keras made without a scale or a shift has ones or zeros."""
    mean, variance = tensors["moving_mean"], tensors["moving_variance"]
    return {
        f"{target}.weight": tensors.get("gamma", torch.ones_like(mean)),
        f"{target}.bias": tensors.get("beta", torch.zeros_like(mean)),
        f"{target}.running_mean": mean,
        f"{target}.running_var": variance + (theirs - ours),
        f"{target}.num_batches_tracked": torch.tensor(0),
    }


def _norm_behind(convolution: str) -> str:
    """Of ResNet-50, whose convolutions alone have biases."""
    return re.sub(r"downsample\.0$", "downsample.1", re.sub(r"conv(\d)$", r"bn\1", convolution))


Namer = Callable[[str], str | None]


def _resnet_names(layers: Layers) -> Namer:
    stem = {"conv1_conv": "conv1", "conv1_bn": "bn1"}
    parts = {f"{number}_{kind}": f"{kind}{number}" for number in (1, 2, 3) for kind in ("conv", "bn")}
    parts |= {"0_conv": "downsample.0", "0_bn": "downsample.1"}

    def name(layer: str) -> str | None:
        if layer in stem:
            return stem[layer]
        match = re.fullmatch(r"conv([2-5])_block(\d+)_(\d_(?:conv|bn))", layer)
        part = parts.get(match[3]) if match else None
        return f"layer{int(match[1]) - 1}.{int(match[2]) - 1}.{part}" if match and part else None

    return name


def _densenet_names(layers: Layers) -> Namer:
    fixed = {"conv1_conv": "conv0", "conv1_bn": "norm0", "bn": "norm5"}
    parts = {"0_bn": "norm1", "1_conv": "conv1", "1_bn": "norm2", "2_conv": "conv2"}

    def name(layer: str) -> str | None:
        layer = layer.replace("/", "_")  # `conv1/conv`, as some versions write
        if layer in fixed:
            return f"features.{fixed[layer]}"
        if match := re.fullmatch(r"pool([2-4])_(conv|bn)", layer):
            return f"features.transition{int(match[1]) - 1}.{'conv' if match[2] == 'conv' else 'norm'}"
        match = re.fullmatch(r"conv([2-5])_block(\d+)_(\d_(?:conv|bn))", layer)
        part = parts.get(match[3]) if match else None
        return f"features.denseblock{int(match[1]) - 1}.denselayer{int(match[2])}.{part}" if match and part else None

    return name


def _inception_names(layers: Layers) -> Namer:
    """Keras numbers these layers as it makes them, from wherever its counter stood: the order tells them apart."""
    made: dict[str, str] = {}
    for kind, leaf in (("conv2d", "conv"), ("batch_normalization", "bn")):
        found = [match for layer in layers if (match := re.fullmatch(rf"{kind}(?:_(\d+))?", layer))]
        numbered = [match[0] for match in sorted(found, key=lambda match: int(match[1] or 0))]
        if len(numbered) == len(_INCEPTION):
            made |= {layer: f"{unit}.{leaf}" for layer, unit in zip(numbered, _INCEPTION, strict=True)}
    return made.get


def _units() -> Iterator[str]:
    yield from ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
    double = [f"branch3x3dbl_{number}" for number in (1, 2, 3)]
    sevens = [f"branch7x7_{number}" for number in (1, 2, 3)] + [f"branch7x7dbl_{number}" for number in (1, 2, 3, 4, 5)]
    last = ["branch3x3_1", "branch3x3_2a", "branch3x3_2b", "branch3x3dbl_1", "branch3x3dbl_2"]
    branches = {
        **{f"Mixed_5{letter}": ["branch1x1", "branch5x5_1", "branch5x5_2", *double, "branch_pool"] for letter in "bcd"},
        "Mixed_6a": ["branch3x3", *double],
        **{f"Mixed_6{letter}": ["branch1x1", *sevens, "branch_pool"] for letter in "bcde"},
        "Mixed_7a": ["branch3x3_1", "branch3x3_2", *(f"branch7x7x3_{number}" for number in (1, 2, 3, 4))],
        **{
            f"Mixed_7{letter}": ["branch1x1", *last, "branch3x3dbl_3a", "branch3x3dbl_3b", "branch_pool"]
            for letter in "bc"
        },
    }
    for module, names in branches.items():
        yield from (f"{module}.{name}" for name in names)


_INCEPTION = tuple(_units())
"""The 94 convolutions, each with its norm layer, in the order in which Keras makes them."""

_NAMES: Mapping[str, Callable[[Layers], Namer]] = {
    "resnet50": _resnet_names,
    "densenet121": _densenet_names,
    "inception_v3": _inception_names,
}
