"""TransFusion's hybrids (Raghu et al. 2019; Peng et al. 2023): later blocks of a ResNet or DenseNet made narrower.

It draws the new layers as timm draws those that they replace; what is copied from a source is for `sweeper.weights`.

`Network.slim` counts the blocks that keep their width. Peng et al. 2023 count otherwise: their `slim_from` is the same
number at grain `block` (1 to 3), and one less at grain `layer` (0 to 16), where they leave out the stem.
"""

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

if TYPE_CHECKING:
    from timm.models.densenet import DenseNet
    from timm.models.resnet import ResNet

Fan = Literal["fan_in", "fan_out"]


def narrow_resnet(backbone: "ResNet", kept: int, factor: int) -> None:
    """Makes all but the first `kept` layers (stem, residual blocks) narrower, in place.

    What is added must be as wide: behind a block of its stage that keeps its width, a block is narrower inside alone.
    """
    parts: dict[str, Any] = dict(backbone.named_children())
    width = parts["bn1"].num_features if kept else _narrow_stem(parts["conv1"], parts["bn1"], factor)
    layers = [layer for stage in range(1, 5) for layer in parts[f"layer{stage}"]]
    for number, block in enumerate(layers, start=1):
        divisor = 1 if number < kept else factor
        after = width if block.downsample is None else out_width(block) // divisor
        _fit_residual(block, width, block.bn1.num_features // divisor, after)
        width = after


def narrow_densenet(backbone: "DenseNet", kept: int, factor: int) -> None:
    """Makes dense blocks behind the first `kept` grow more slowly, and all behind them narrower, in place.

    A transition halves what it gets, as in Huang et al. 2017. With `kept` 0 the stem is narrower too.
    """
    parts: dict[str, Any] = dict(backbone.features.named_children())
    width = parts["norm0"].num_features // (1 if kept else factor)
    _fit(parts["conv0"], parts["norm0"], parts["conv0"].in_channels, width, "fan_in")
    for number in range(1, 5):
        for layer in parts[f"denseblock{number}"].children():
            width += _fit_dense(layer, width, 1 if number <= kept else factor)
        if number < 4:
            transition = parts[f"transition{number}"]
            _fit_norm(transition.norm, width)
            _fit_conv(transition.conv, width, width // 2, "fan_in")
            width //= 2
    _fit_norm(parts["norm5"], width)


def out_width(block: nn.Module) -> int:
    """Channels that a residual block of timm's puts out."""
    return _chain(block)[-1][1].num_features


def _narrow_stem(conv1: nn.Module, bn1: nn.Module, factor: int) -> int:
    """The stem's new width; it is one convolution and a norm, or three convolutions with two norms between them."""
    parts = [*conv1.modules(), bn1]
    convolutions = [part for part in parts if isinstance(part, nn.Conv2d)]
    norms = [part for part in parts if isinstance(part, nn.BatchNorm2d)]
    width = convolutions[0].in_channels
    for convolution, norm in zip(convolutions, norms, strict=True):
        after = convolution.out_channels // factor
        _fit(convolution, norm, width, after, "fan_out")
        width = after
    return width


def _fit_residual(block: Any, before: int, inner: int, after: int) -> None:
    chain = _chain(block)
    widths = (before, *(inner,) * (len(chain) - 1), after)
    for (convolution, norm), into, out in zip(chain, widths, widths[1:], strict=False):
        _fit(convolution, norm, into, out, "fan_out")
    if block.downsample is not None:
        *_, convolution, norm = block.downsample
        _fit(convolution, norm, before, after, "fan_out")


def _chain(block: nn.Module) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """A residual block's convolutions, each with the norm behind it."""
    parts: dict[str, Any] = dict(block.named_children())
    return [(parts[f"conv{number}"], parts[f"bn{number}"]) for number in "123" if f"conv{number}" in parts]


def _fit_dense(layer: Any, before: int, divisor: int) -> int:
    """How many channels the dense layer adds."""
    inner, after = layer.conv1.out_channels // divisor, layer.conv2.out_channels // divisor
    _fit_norm(layer.norm1, before)
    _fit(layer.conv1, layer.norm2, before, inner, "fan_in")
    _fit_conv(layer.conv2, inner, after, "fan_in")
    return after


def _fit(convolution: nn.Conv2d, norm: nn.BatchNorm2d, before: int, after: int, fan: Fan) -> None:
    _fit_conv(convolution, before, after, fan)
    _fit_norm(norm, after)


def _fit_conv(convolution: nn.Conv2d, before: int, after: int, fan: Fan) -> None:
    """Draws it anew where its shape changes, as timm does: He et al. 2015, over the fan that the family takes."""
    if (convolution.in_channels, convolution.out_channels) == (before, after):
        return
    convolution.in_channels, convolution.out_channels = before, after
    shape = (after, before, *convolution.kernel_size)
    convolution.weight = nn.Parameter(torch.empty(shape, device=convolution.weight.device))
    nn.init.kaiming_normal_(convolution.weight, mode=fan, nonlinearity="relu")


def _fit_norm(norm: nn.BatchNorm2d, width: int) -> None:
    """Keeps the first channels: a norm starts alike in all."""
    norm.num_features = width
    for name in ("weight", "bias"):
        setattr(norm, name, nn.Parameter(getattr(norm, name).detach()[:width].clone()))
    for name in ("running_mean", "running_var"):
        setattr(norm, name, getattr(norm, name)[:width].clone())
