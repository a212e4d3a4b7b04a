"""Keras's ResNet-50, DenseNet-121 and Inception-v3 without head, as plain functions in torch, and their files.

Written down from Keras's definitions (He et al. 2016, Huang et al. 2017, Szegedy et al. 2016), float64: what a layer
does is said in `Network`, how layers are put together in the three functions. Layers that are met for the first time
get random weights, so that one forward pass makes a network.
"""

from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


class Network:
    """Layers by name, as Keras holds them: kernels (height, width, in, out), moments of norm layers."""

    def __init__(self) -> None:
        self.layers: dict[str, dict[str, np.ndarray]] = {}
        self._random = np.random.default_rng(7)

    def convolve(
        self, x: Tensor, name: str, filters: int, size: tuple[int, int], *, stride: int = 1, same: bool, bias: bool
    ) -> Tensor:
        """Without padding, or with as much as keeps the image's size at stride 1."""
        shape = (*size, x.shape[1], filters)
        if name not in self.layers:
            kernel = self._random.normal(0, np.sqrt(2 / np.prod(shape[:3])), shape)
            self.layers[name] = {"kernel": kernel.astype(np.float32)}
            if bias:
                self.layers[name]["bias"] = self._random.normal(0, 0.3, filters).astype(np.float32)
        layer = self.layers[name]
        kernel = torch.from_numpy(layer["kernel"]).double().permute(3, 2, 0, 1)
        added = torch.from_numpy(layer["bias"]).double() if bias else None
        padding = ((size[0] - 1) // 2, (size[1] - 1) // 2) if same else (0, 0)
        return F.conv2d(x, kernel, added, stride=stride, padding=padding)

    def normalise(self, x: Tensor, name: str, *, epsilon: float, scale: bool = True) -> Tensor:
        count = x.shape[1]
        if name not in self.layers:
            self.layers[name] = {"gamma": self._random.uniform(0.5, 1.2, count)} if scale else {}
            self.layers[name] |= {
                "beta": self._random.normal(0, 0.3, count),
                "moving_mean": self._random.normal(0, 0.3, count),
                "moving_variance": self._random.uniform(0.5, 2.0, count),
            }
            self.layers[name] = {leaf: values.astype(np.float32) for leaf, values in self.layers[name].items()}
        layer = {leaf: torch.from_numpy(values).double()[:, None, None] for leaf, values in self.layers[name].items()}
        ready = (x - layer["moving_mean"]) / torch.sqrt(layer["moving_variance"] + epsilon)
        return ready * layer.get("gamma", 1.0) + layer["beta"]


def resnet50(net: Network, x: Tensor, *, stride_first: bool = True, stages: int = 4) -> Tensor:
    """Keras has a stage's stride in its first 1x1 convolution; with `stride_first` false it is in the 3x3 one."""

    def unit(x: Tensor, name: str, filters: int, size: int, stride: int = 1) -> Tensor:
        x = net.convolve(x, f"{name}_conv", filters, (size, size), stride=stride, same=size == 3, bias=True)
        return net.normalise(x, f"{name}_bn", epsilon=1.001e-5)

    x = F.relu(unit(F.pad(x, (3, 3, 3, 3)), "conv1", 64, 7, 2))
    x = F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2)
    for stage, (filters, count) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))[:stages], start=2):
        for block in range(1, count + 1):
            name, stride = f"conv{stage}_block{block}", 2 if stage > 2 and block == 1 else 1
            first, second = (stride, 1) if stride_first else (1, stride)
            shortcut = unit(x, f"{name}_0", 4 * filters, 1, stride) if block == 1 else x
            y = F.relu(unit(x, f"{name}_1", filters, 1, first))
            y = F.relu(unit(y, f"{name}_2", filters, 3, second))
            x = F.relu(shortcut + unit(y, f"{name}_3", 4 * filters, 1))
    return x


def densenet121(net: Network, x: Tensor) -> Tensor:
    def norm(x: Tensor, name: str) -> Tensor:
        return net.normalise(x, name, epsilon=1.001e-5)

    def convolve(x: Tensor, name: str, filters: int, size: int, stride: int = 1) -> Tensor:
        return net.convolve(x, name, filters, (size, size), stride=stride, same=size == 3, bias=False)

    x = F.relu(norm(convolve(F.pad(x, (3, 3, 3, 3)), "conv1/conv", 64, 7, 2), "conv1/bn"))
    x = F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2)
    for stage, count in enumerate((6, 12, 24, 16), start=2):
        for block in range(1, count + 1):
            name = f"conv{stage}_block{block}"
            y = convolve(F.relu(norm(x, f"{name}_0_bn")), f"{name}_1_conv", 128, 1)
            y = convolve(F.relu(norm(y, f"{name}_1_bn")), f"{name}_2_conv", 32, 3)
            x = torch.cat([x, y], dim=1)
        if stage < 5:
            x = convolve(F.relu(norm(x, f"pool{stage}_bn")), f"pool{stage}_conv", x.shape[1] // 2, 1)
            x = F.avg_pool2d(x, 2)
    return F.relu(norm(x, "bn"))


def inception_v3(net: Network, x: Tensor, *, first: int = 0, margin: bool = False, modules: int = 11) -> Tensor:
    """Layers are numbered from `first` as they are made; 0 has no number.

    Args:
        margin: whether average pools count the zeros around the image, as Keras's do not.
        modules: how many of the mixed modules are passed.
    """
    made = 0

    def unit(x: Tensor, filters: int, height: int, width: int, stride: int = 1, same: bool = True) -> Tensor:
        nonlocal made
        number = f"_{first + made}" if first + made else ""
        made += 1
        x = net.convolve(x, f"conv2d{number}", filters, (height, width), stride=stride, same=same, bias=False)
        return F.relu(net.normalise(x, f"batch_normalization{number}", epsilon=1e-3, scale=False))

    def pooled(x: Tensor, filters: int) -> Tensor:
        return unit(F.avg_pool2d(x, 3, 1, 1, count_include_pad=margin), filters, 1, 1)

    def narrow(x: Tensor, pool: int) -> Tensor:
        one = unit(x, 64, 1, 1)
        five = unit(unit(x, 48, 1, 1), 64, 5, 5)
        double = unit(unit(unit(x, 64, 1, 1), 96, 3, 3), 96, 3, 3)
        return torch.cat([one, five, double, pooled(x, pool)], dim=1)

    def shrink(x: Tensor) -> Tensor:
        three = unit(x, 384, 3, 3, 2, same=False)
        double = unit(unit(unit(x, 64, 1, 1), 96, 3, 3), 96, 3, 3, 2, same=False)
        return torch.cat([three, double, F.max_pool2d(x, 3, 2)], dim=1)

    def long(x: Tensor, filters: int) -> Tensor:
        one = unit(x, 192, 1, 1)
        seven = unit(unit(unit(x, filters, 1, 1), filters, 1, 7), 192, 7, 1)
        double = unit(unit(unit(x, filters, 1, 1), filters, 7, 1), filters, 1, 7)
        double = unit(unit(double, filters, 7, 1), 192, 1, 7)
        return torch.cat([one, seven, double, pooled(x, 192)], dim=1)

    def shrink_again(x: Tensor) -> Tensor:
        three = unit(unit(x, 192, 1, 1), 320, 3, 3, 2, same=False)
        seven = unit(unit(unit(x, 192, 1, 1), 192, 1, 7), 192, 7, 1)
        seven = unit(seven, 192, 3, 3, 2, same=False)
        return torch.cat([three, seven, F.max_pool2d(x, 3, 2)], dim=1)

    def wide(x: Tensor) -> Tensor:
        one = unit(x, 320, 1, 1)
        three = unit(x, 384, 1, 1)
        three = torch.cat([unit(three, 384, 1, 3), unit(three, 384, 3, 1)], dim=1)
        double = unit(unit(x, 448, 1, 1), 384, 3, 3)
        double = torch.cat([unit(double, 384, 1, 3), unit(double, 384, 3, 1)], dim=1)
        return torch.cat([one, three, double, pooled(x, 192)], dim=1)

    x = unit(unit(unit(x, 32, 3, 3, 2, same=False), 32, 3, 3, same=False), 64, 3, 3)
    x = unit(unit(F.max_pool2d(x, 3, 2), 80, 1, 1, same=False), 192, 3, 3, same=False)
    x = F.max_pool2d(x, 3, 2)
    steps = [
        *(lambda x, pool=pool: narrow(x, pool) for pool in (32, 64, 64)),
        shrink,
        *(lambda x, filters=filters: long(x, filters) for filters in (128, 160, 160, 192)),
        shrink_again,
        wide,
        wide,
    ]
    for step in steps[:modules]:
        x = step(x)
    return x


def write_file(net: Network, path: Path) -> None:
    """As Keras's `save_weights` does; layers without weights are listed as well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    order = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in ("input_1", *net.layers)]
        file.create_group("input_1").attrs["weight_names"] = np.array([], dtype="S1")
        for name, layer in net.layers.items():
            group = file.create_group(name)
            leaves = [leaf for leaf in order if leaf in layer]
            group.attrs["weight_names"] = [f"{name}/{leaf}:0".encode() for leaf in leaves]
            for leaf in leaves:
                group.create_dataset(f"{name}/{leaf}:0", data=layer[leaf])
