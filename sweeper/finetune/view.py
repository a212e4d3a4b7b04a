"""How a network sees images: normalised as its weights were trained, on its device, at its precision.

Which images it sees, and when, is the loop's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
import torch.distributed as dist
from torch import nn

from sweeper.data.loading import move, normalise

EVALUATION_BATCH = 256
"""Images that go through a network at once when nothing is learnt from them."""
_PRECISIONS = MappingProxyType({"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16})


@dataclass(frozen=True, kw_only=True)
class View:
    """How a network sees images: what its weights were trained with."""

    mean: Sequence[float]
    """Per channel, of pixels in 0..1."""
    std: Sequence[float]
    device: torch.device
    amp: Literal["off", "bf16", "fp16"] = "off"
    """As in the recipe."""
    order: Literal["rgb", "bgr"] = "rgb"
    """Of the channels that the network sees, and of `mean` and `std`."""

    def __post_init__(self) -> None:
        if self.amp == "fp16" and self.device.type != "cuda":
            raise ValueError(f"amp 'fp16' needs a GPU and this is a {self.device.type}; use amp 'bf16' or 'off'")


def forward(network: Callable[..., torch.Tensor], images: torch.Tensor, view: View) -> torch.Tensor:
    """What the network makes of images; those that a fixed backbone has already made features of go in as they are."""
    images = move(images, view.device)
    if images.dtype == torch.uint8:
        images = normalise(images, view.mean, view.std, view.order)
    with torch.autocast(view.device.type, _PRECISIONS[view.amp], enabled=view.amp != "off"):
        return network(images)


def lay_out(model: nn.Module) -> None:
    """Puts weights into channels_last, unless DDP may hold them: it would mix up their gradients without a word."""
    if not dist.is_initialized():
        model.to(memory_format=torch.channels_last)


def train_mode(model: nn.Module, frozen: Sequence[nn.Module]) -> None:
    """Everything in training mode, the frozen modules in evaluation mode."""
    model.train()
    for module in frozen:
        module.eval()
