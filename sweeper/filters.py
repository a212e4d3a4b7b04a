"""First-layer filters of stored states as pictures, before and after training.

States are read as numpy arrays from their safetensors; no model is built.
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

COUNT = 36
"""Filters that a picture shows, as Juodelyte et al. 2023 do."""


def first_filters(state: Path, *, channels: int) -> np.ndarray | None:
    """The filters of the layer that looks at the image: (filters, channels, height, width), float32.

    It is the one tensor of four dimensions that takes as many channels as the image has; None where no tensor does, or
    several do (as depthwise filters and those of a grey image).

    Args:
        state: a safetensors file.
        channels: that the network looks at: 3, or 1 where `Network.input` is not `rgb`.
    """
    found = [value for value in load_file(state).values() if value.ndim == 4 and value.shape[1] == channels]
    return found[0] if len(found) == 1 else None


def tiled(filters: np.ndarray, *, count: int = COUNT, ends: tuple[float, float] | None = None) -> np.ndarray:
    """The first channel of the first filters as one picture, a square grid with white lines, values in [0, 1].

    Args:
        filters: (filters, channels, height, width), finite.
        count: filters shown at most.
        ends: the values that are stretched to 0 and 1, the same for pictures that are to be compared; None takes the
            smallest and the largest of all filters and channels, so that filters compare within a picture.

    Raises:
        ValueError: when both ends are the same, or a value is not finite.
    """
    if not np.isfinite(filters).all():
        raise ValueError("a first-layer filter holds a value that is not finite: its training diverged")
    low, high = ends or (float(filters.min()), float(filters.max()))
    if low == high:
        raise ValueError(f"all first-layer filters hold {low:g} alone: there is nothing to show")
    shown = (filters[:count, 0].astype(np.float64) - low) / (high - low)
    side = int(np.ceil(np.sqrt(len(shown))))
    height, width = shown.shape[1] + 1, shown.shape[2] + 1
    picture = np.ones((side * height - 1, side * width - 1))
    for number, each in enumerate(shown):
        top, left = number // side * height, number % side * width
        picture[top : top + height - 1, left : left + width - 1] = each
    return picture
