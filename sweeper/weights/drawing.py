"""Draws a tensor in the likeness of another: its mean and sd, its values, or nothing of it.

Which tensors are drawn, and which are reset or kept beside them, is `pouring.py`'s.
"""

import hashlib
from typing import Literal

import torch
from torch import Tensor

Sampler = Literal["stats", "shuffle", "bootstrap", "fixed"]
_FIXED_SD = 0.05  # Matsoukas et al. 2022, `sampled_iid_random`


def draw_like(tensor: Tensor, name: str, sampler: Sampler = "stats") -> Tensor:
    """Independent draws with the tensor's shape.

    `stats`: Gaussian, with its mean and its unbiased sd, both over the whole tensor; a single value has no sd and is
    drawn as itself. `shuffle`: its values in another order. `bootstrap`: its values, drawn with replacement. `fixed`:
    N(0, 0.05).

    Args:
        name: what the draw is for; one name always gives the same draw.
    """
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) >> 1  # 63 bits: torch takes signed seeds
    generator = torch.Generator().manual_seed(seed)
    match sampler:
        case "stats":
            values = tensor.double()  # so that the mean of millions of small values is exact
            sd = values.std().item() if values.numel() > 1 else 0.0
            return torch.randn(tensor.shape, generator=generator) * sd + values.mean().item()
        case "shuffle":
            return tensor.reshape(-1)[torch.randperm(tensor.numel(), generator=generator)].view(tensor.shape)
        case "bootstrap":
            return tensor.reshape(-1)[torch.randint(tensor.numel(), tensor.shape, generator=generator)]
        case "fixed":
            return torch.randn(tensor.shape, generator=generator) * _FIXED_SD
