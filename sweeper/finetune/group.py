"""The processes that train one model together: this one's place, and what they tell each other.

Who started them is not known here; a process that is alone is a group of one.
"""

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def place() -> tuple[int, int]:
    """This process's rank and the number of processes."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def inner(model: nn.Module) -> nn.Module:
    """The model itself, taken out of its distributed wrapper where it has one."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def alone(model: nn.Module, alone: bool) -> AbstractContextManager:
    """Within it gradients stay in their process: they are exchanged with the last piece of a step."""
    return model.no_sync() if alone and isinstance(model, DistributedDataParallel) else nullcontext()


def sum_of(value: torch.Tensor) -> float:
    """The sum over all processes."""
    if dist.is_initialized():
        dist.all_reduce(value)
    return value.item()


def interleave(found: list[np.ndarray], images: int) -> np.ndarray:
    """All processes' rows in the part's order, of which each has every so manieth; every process gets them all."""
    world = place()[1]
    if world == 1:
        return np.concatenate(found)
    gathered: list[list[np.ndarray]] = [[] for _ in range(world)]
    dist.all_gather_object(gathered, found)
    classes = next(chunk.shape[1] for chunks in gathered for chunk in chunks)
    rows = np.empty((images, classes))
    for rank, chunks in enumerate(gathered):
        if chunks:
            rows[rank::world] = np.concatenate(chunks)
    return rows
