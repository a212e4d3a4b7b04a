"""Changes the values of pixels, each image of a batch in its own way: colours, blur, and what is rubbed out.

Where pixels lie is `augment_places`' business. Values are those of uint8, 0 to 255, also in float images; what is
computed for uint8 images is rounded. Grey is ITU-R 601-2 luma, as in torchvision.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch.nn import functional as F

from sweeper.data.augment_draws import chosen, places, uniform, windows
from sweeper.data.augment_pixels import copied, planes_of, put
from sweeper.data.moving import move

_WHITE = 255
_LUMA = (0.2989, 0.587, 0.114)
_SIXTHS = (5, 3, 1)
"""Of the circle of hues: where red, green and blue begin to fall (Smith 1978, in the form without cases)."""


def _jitter(
    images: torch.Tensor,
    generator: torch.Generator,
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    p: float,
    own: bool = False,
) -> torch.Tensor:
    """torchvision's ColorJitter: the four in an order that is drawn too."""
    number = len(images)
    taken = chosen(number, p, generator)
    order = torch.rand(number, 4, generator=generator).argsort(dim=1)  # (n, 4)
    factors = torch.stack(
        [uniform(number, max(0.0, 1 - each), 1 + each, generator) for each in (brightness, contrast, saturation)]
        + [uniform(number, -hue, hue, generator)],
        dim=1,
    ).float()  # (n, 4)
    return _some(images, taken, _recolour, factors, order, own=own)


def _grayscale(images: torch.Tensor, generator: torch.Generator, *, p: float, own: bool = False) -> torch.Tensor:
    return _some(images, chosen(len(images), p, generator), _luma, own=own)


def _blur(
    images: torch.Tensor, generator: torch.Generator, *, radius: tuple[float, float], p: float, own: bool = False
) -> torch.Tensor:
    """A Gaussian that is cut off at three of the largest sd; the images go on beyond their edges as in a mirror."""
    taken = chosen(len(images), p, generator)
    sd = uniform(len(images), *radius, generator).float()
    return _some(images, taken, lambda some, sd: _smooth(some, sd, math.ceil(3 * radius[1])), sd, own=own)


def _solarize(
    images: torch.Tensor, generator: torch.Generator, *, threshold: float, p: float, own: bool = False
) -> torch.Tensor:
    """Values from the threshold on are inverted."""
    taken = chosen(len(images), p, generator)
    return _some(images, taken, lambda some: torch.where(some >= threshold, _WHITE - some, some), own=own)


def _erasing(
    images: torch.Tensor,
    generator: torch.Generator,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    value: float | tuple[float, float, float],
    p: float,
    own: bool = False,
) -> torch.Tensor:
    """torchvision's: the first of ten windows that is smaller than the image both ways; without one nothing happens."""
    number, _, height, width = images.shape
    taken = chosen(number, p, generator)
    tall = tuple(1 / each for each in reversed(ratio))  # torchvision's ratio is here that of height over width
    heights, widths, fits = windows((number, height, width), scale, (tall[0], tall[1]), generator)
    fits &= (heights < height) & (widths < width)
    first = fits.int().argmax(dim=1, keepdim=True)
    heights, widths = heights.gather(1, first).squeeze(1), widths.gather(1, first).squeeze(1)
    top = places((height - heights).clamp(min=0), generator)
    left = places((width - widths).clamp(min=0), generator)
    colour = torch.tensor(value, dtype=torch.float32).expand(number, 3)
    window = torch.stack([top, top + heights, left, left + widths], dim=1)  # (n, 4)
    return _some(images, taken & fits.any(dim=1), _rub_out, window, colour, own=own)


def _some(
    images: torch.Tensor, which: torch.Tensor, change: Callable[..., torch.Tensor], *given: torch.Tensor, own: bool
) -> torch.Tensor:
    """The images with `change(images as floats, *given)` in place of those that are chosen.

    Args:
        which: bool (n,), on the CPU, so that nobody waits for a GPU.
        change: makes (n, 3, h, w) of such floats, or (n, 1, h, w) for three equal channels; it may overwrite them.
        given: (n, ...), on the CPU: what of it belongs to the chosen images is handed on, as it lies.
        own: whether nobody else needs the images, so that they are overwritten.
    """
    if not which.any():
        return images
    rows = which.nonzero().squeeze(1)
    found = images if own and images.is_contiguous(memory_format=torch.channels_last) else copied(images)
    for some in rows.split(1 if images.device.type == "cpu" else len(rows)):  # one stays in a core's own cache
        changed = change(planes_of(images, some), *(each[some] for each in given))
        put(found, some, changed if images.is_floating_point() else changed.round().clamp_(0, _WHITE))
    return found


def _recolour(images: torch.Tensor, factors: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """
    Args:
        images: floats, which are overwritten.
        factors: (n, 4)
        order: (n, 4), which of the four changes comes first, second, ...
    """
    factors = factors.view(-1, 4, 1, 1, 1)
    for now in order.unbind(1):
        wanted = set(now.tolist())
        for index in wanted:
            if len(wanted) == 1:
                images = _CHANGES[index](images, move(factors[:, index], images.device))
            else:
                rows = (now == index).nonzero().squeeze(1)
                there, factor = move(rows, images.device), move(factors[rows, index], images.device)
                images = images.index_copy(0, there, _CHANGES[index](images[there], factor))
    return images


def _luma(images: torch.Tensor) -> torch.Tensor:
    """(n, 1, h, w)"""
    red, green, blue = images.unbind(1)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue).unsqueeze(1)


def _blend(images: torch.Tensor, other: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    return images.mul_(share).add_((1 - share) * other).clamp_(0, _WHITE)


def _brighten(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return images.mul_(factor).clamp_(0, _WHITE)


def _contrast(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Away from the mean of the image's luma, or towards it."""
    return _blend(images, _luma(images).mean(dim=(1, 2, 3), keepdim=True), factor)


def _saturate(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return _blend(images, _luma(images), factor)


def _turn_hue(images: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Hues moved on by so many turns of their circle, value and saturation as they are."""
    red, green, blue = images.unbind(1)
    most, least = torch.maximum(red, green).maximum(blue), torch.minimum(red, green).minimum(blue)
    span = most - least
    sixths = _hue(red, green, blue, most, span).add_(6 * turns.squeeze(1))
    found = torch.empty_like(images)
    for seen, each in zip(found.unbind(1), _SIXTHS, strict=True):
        fall = sixths + each
        fall -= (fall / 6).floor_().mul_(6)  # torch's own remainder takes ten times as long
        torch.sub(most, torch.minimum(fall, 4 - fall).clamp_(0, 1).mul_(span), out=seen)
    return found


def _hue(
    red: torch.Tensor, green: torch.Tensor, blue: torch.Tensor, most: torch.Tensor, span: torch.Tensor
) -> torch.Tensor:
    """In sixths of the circle, -1 to 5; 0 without colour. The largest channel decides, the first of equals.

    Which one that is stands in ones and zeros, because on the processor torch takes five times as long to choose by
    conditions; a product with 1 and a sum with 0 change no bit.
    """
    not_red, not_green = (most - red).sign_(), (most - green).sign_()
    is_blue = not_red * not_green
    is_green, is_red = not_red - is_blue, 1 - not_red
    rise = is_red.mul_(green - blue).add_(is_green * (blue - red)).add_(is_blue * (red - green))
    rise /= 1 - span.sign() + span  # 1 where it is 0
    return rise.add_(is_green.mul_(2).add_(is_blue.mul_(4)))


_CHANGES = (_brighten, _contrast, _saturate, _turn_hue)


def _smooth(images: torch.Tensor, sd: torch.Tensor, reach: int) -> torch.Tensor:
    number, channels, height, width = images.shape
    sd = move(sd, images.device)
    seen = images.reshape(1, -1, height, width)
    for across, side in ((False, height), (True, width)):
        near = min(reach, side - 1)
        places = torch.arange(-near, near + 1, device=images.device)
        bell = torch.exp(-0.5 * (places / sd.view(-1, 1)) ** 2)  # (n, taps)
        bell = (bell / bell.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)
        pads = (near, near, 0, 0) if across else (0, 0, near, near)
        taps = bell[:, None, None, :] if across else bell[:, None, :, None]  # (n * channels, 1, taps or 1, taps or 1)
        seen = F.conv2d(F.pad(seen, pads, mode="reflect"), taps, groups=number * channels)
    return seen.view(number, channels, height, width)


def _rub_out(images: torch.Tensor, window: torch.Tensor, colour: torch.Tensor) -> torch.Tensor:
    top, bottom, left, right = move(window, images.device)[:, :, None, None].unbind(1)
    y = torch.arange(images.shape[-2], device=images.device).view(1, -1, 1)
    x = torch.arange(images.shape[-1], device=images.device).view(1, 1, -1)
    gone = (y >= top) & (y < bottom) & (x >= left) & (x < right)  # (n, h, w)
    return torch.where(gone.unsqueeze(1), move(colour, images.device)[:, :, None, None], images)


COLOURS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {"jitter": _jitter, "grayscale": _grayscale, "blur": _blur, "solarize": _solarize, "erasing": _erasing}
)
"""Operation -> changed(images, generator, **settings)."""
