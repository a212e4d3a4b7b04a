"""Synthetic Gabor filters for a first convolution (Raghu et al. 2019, section 5).

Every parameter is the bank's own, `sweeper.cell.Gabor`; nothing is drawn.
"""

import itertools
import math

import torch
from torch import Tensor

from sweeper.cell import Gabor

_COLOURS = {"grey": (1.0, 1.0, 1.0), "red_green": (1.0, -1.0, 0.0), "blue_yellow": (-0.5, -0.5, 1.0)}
"""Weights of red, green and blue."""


def make_filters(bank: Gabor, shape: torch.Size, *, sd: float, order: str = "rgb") -> Tensor:
    """Filters of the shape of a convolution's weight, (filters, channels, height, width), float32.

    A filter is exp(-(u^2 + (v / aspect)^2) / (2 s^2)) cos(2 pi u / wavelength + phase), s = bandwidth * wavelength, in
    pixels from the middle of the kernel: u runs at the orientation's angle, from right (0 degrees: upright stripes)
    towards down, v along the stripes. Its mean over the plane is taken off, so that it sees nothing in an even image,
    it is weighted by colour, and scaled to the sd.

    Args:
        bank: its combinations, orientations outermost and colours innermost, are taken one after the other, from the
            first again where there are more filters.
        sd: of the values of each filter, which has mean 0; the layer's own random start has it.
        order: of the channels. A weight with one channel takes `grey` alone.

    Raises:
        ValueError: when a filter is flat in such a kernel, or colours are asked of one channel.
    """
    angles = [180 * number / bank.orientations for number in range(bank.orientations)]
    combinations = itertools.cycle(itertools.product(angles, bank.wavelengths, bank.phases, bank.colours))
    chosen = itertools.islice(combinations, shape[0])
    made = [
        _weights(colour, shape[1], order)[:, None, None] * _stripes(bank, angle, wavelength, phase, shape[2:])
        for angle, wavelength, phase, colour in chosen
    ]
    filters = torch.stack(made)  # (filters, channels, height, width)
    scale = filters.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return (filters / scale * sd).float()


def _stripes(bank: Gabor, angle: float, wavelength: float, phase: float, shape: torch.Size) -> Tensor:
    """One filter in one channel, (height, width), float64, of mean 0."""
    height, width = shape
    down = (torch.arange(height, dtype=torch.float64) - (height - 1) / 2)[:, None]
    right = (torch.arange(width, dtype=torch.float64) - (width - 1) / 2)[None, :]
    turn = math.radians(angle)
    across = right * math.cos(turn) + down * math.sin(turn)
    along = down * math.cos(turn) - right * math.sin(turn)
    envelope = torch.exp(-(across**2 + (along / bank.aspect) ** 2) / (2 * (bank.bandwidth * wavelength) ** 2))
    stripes = envelope * torch.cos(2 * math.pi * across / wavelength + math.radians(phase))
    stripes = stripes - stripes.mean()
    if stripes.abs().max() < 1e-6:  # of values up to 1
        raise ValueError(
            f"a Gabor filter of wavelength {wavelength:g}, phase {phase:g} and {angle:g} degrees is flat in a kernel "
            f"of {height} x {width} pixels; use other wavelengths or phases"
        )
    return stripes


def _weights(colour: str, channels: int, order: str) -> Tensor:
    red_green_blue = _COLOURS[colour]
    if channels == 3:
        return torch.tensor(red_green_blue if order == "rgb" else red_green_blue[::-1], dtype=torch.float64)
    if channels == 1 and colour == "grey":
        return torch.ones(1, dtype=torch.float64)
    raise ValueError(f"a Gabor filter of colour '{colour}' needs three channels, and the layer has {channels}")
