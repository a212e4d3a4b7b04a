"""Brings tensors to a device.

What is moved, and what is kept there, is the business of those who ask.
"""

import torch


def move(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on `device`; nobody waits for a copy to a GPU."""
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
