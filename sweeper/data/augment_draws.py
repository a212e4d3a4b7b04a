"""Draws, for each image of a batch, where it is cut, mirrored, turned or warped, as torchvision and Keras draw it.

No pixel is touched here: `augment_places` does what is drawn. Each function draws the same number of values for every
image, whether it is chosen or not.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from sweeper.data.augment_places import Change, Cut, Flip, Warp

_ATTEMPTS = 10
"""How often torchvision draws a window before it gives up."""


def uniform(number: int, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    """float64 (number,)."""
    return low + (high - low) * torch.rand(number, generator=generator, dtype=torch.float64)


def chosen(number: int, p: float, generator: torch.Generator) -> torch.Tensor:
    """bool (number,), each with probability p."""
    return torch.rand(number, generator=generator) < p


def windows(
    shape: tuple[int, int, int], scale: tuple[float, float], ratio: tuple[float, float], generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Heights, widths (int64) and whether the window fits (bool), each (n, attempts).

    Args:
        shape: (n, height, width) of the images.
        scale: range of the window's area over the image's; uniform.
        ratio: range of its width over its height; log-uniform.
    """
    number, height, width = shape
    area = height * width * uniform(number * _ATTEMPTS, *scale, generator).view(number, _ATTEMPTS)
    log_ratio = uniform(number * _ATTEMPTS, math.log(ratio[0]), math.log(ratio[1]), generator)
    aspect = log_ratio.exp().view(number, _ATTEMPTS)
    widths, heights = (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()
    return heights, widths, (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)


def places(room: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """int64 (n,): each uniform over 0..room."""
    drawn = torch.rand(len(room), generator=generator, dtype=torch.float64)
    return (drawn * (room + 1)).long().minimum(room)


def _center_crop(shape: tuple[int, int, int], generator: torch.Generator, *, share: float) -> Cut:
    number, height, width = shape
    long = {side: max(round(share * side), 1) for side in (height, width)}
    kept = {side: torch.full((number,), each) for side, each in long.items()}
    first = {side: torch.full((number,), round((side - each) / 2)) for side, each in long.items()}
    return Cut(left=first[width], top=first[height], width=kept[width], height=kept[height])


def _crop(shape: tuple[int, int, int], generator: torch.Generator, *, share: float, padding: float, p: float) -> Cut:
    number, height, width = shape
    taken = chosen(number, p, generator)
    sides = {}
    for name, side in (("height", height), ("width", width)):
        long, pad = max(round(share * side), 1), round(padding * side)
        first = places(torch.full((number,), side + 2 * pad - long), generator) - pad
        sides[name] = torch.where(taken, long, side), torch.where(taken, first, 0)
    (heights, top), (widths, left) = sides["height"], sides["width"]
    return Cut(left=left, top=top, width=widths, height=heights)


def _resized_crop(
    shape: tuple[int, int, int],
    generator: torch.Generator,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Cut:
    """torchvision's: the first of ten windows that fits, else the largest in the middle with an allowed ratio."""
    _, height, width = shape
    heights, widths, fits = windows(shape, scale, ratio, generator)
    first = fits.int().argmax(dim=1, keepdim=True)
    found = fits.any(dim=1)
    aspect = min(max(width / height, ratio[0]), ratio[1])
    middle = (min(height, round(width / aspect)), min(width, round(height * aspect)))
    heights = torch.where(found, heights.gather(1, first).squeeze(1), middle[0])
    widths = torch.where(found, widths.gather(1, first).squeeze(1), middle[1])
    top, left = places(height - heights, generator), places(width - widths, generator)
    top, left = (
        torch.where(found, drawn, (side - long) // 2)
        for drawn, side, long in ((top, height, heights), (left, width, widths))
    )
    return Cut(left=left, top=top, width=widths, height=heights)


def _hflip(shape: tuple[int, int, int], generator: torch.Generator, *, p: float) -> Flip:
    return Flip(chosen=chosen(shape[0], p, generator), axis=-1)


def _vflip(shape: tuple[int, int, int], generator: torch.Generator, *, p: float) -> Flip:
    return Flip(chosen=chosen(shape[0], p, generator), axis=-2)


def _rotate(shape: tuple[int, int, int], generator: torch.Generator, *, angle: float, p: float) -> Warp:
    number, height, width = shape
    taken = chosen(number, p, generator)
    turns = uniform(number, -angle, angle, generator)
    return Warp(matrix=_or_still(taken, _centred(_turn(turns), height, width)), edge=False)


def _affine(
    shape: tuple[int, int, int],
    generator: torch.Generator,
    *,
    degrees: float,
    translate: tuple[float, float],
    scale: tuple[float, float],
    shear: float,
    p: float,
) -> Warp:
    """torchvision's: turned clockwise, sheared along x and scaled about the middle, then moved by whole pixels."""
    number, height, width = shape
    taken = chosen(number, p, generator)
    angle = uniform(number, -degrees, degrees, generator)
    across, down = (
        uniform(number, -share * side, share * side, generator).round()
        for share, side in zip(translate, (width, height), strict=True)
    )
    size = uniform(number, *scale, generator)
    slant = uniform(number, -shear, shear, generator).deg2rad().tan()
    forward = _turn(angle) @ _matrix(1, -slant, 0, 1) * size.view(-1, 1, 1)
    forward[:, 2, 2] = 1
    back = torch.linalg.inv(_shift(across, down) @ _centred(forward, height, width))
    return Warp(matrix=_or_still(taken, back), edge=False)


def _perspective(shape: tuple[int, int, int], generator: torch.Generator, *, distortion: float, p: float) -> Warp:
    """torchvision's: each corner moves inwards by up to the distortion times half a side."""
    number, height, width = shape
    taken = chosen(number, p, generator)
    most = [int(distortion * (side // 2)) for side in (width, height)]
    inwards = torch.stack(
        [places(torch.full((number,), room), generator) for _ in range(4) for room in most], dim=1
    ).view(number, 4, 2)
    corners = torch.tensor([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], dtype=torch.float64)
    ways = torch.tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    return Warp(matrix=_or_still(taken, through(corners + ways * inwards, corners)), edge=False)


def through(points: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """The projective maps that take four points to four others, float64 (n, 3, 3), as torchvision has them.

    torchvision counts corners in whole pixels and what it warps from the pixels' upper left corner on; so the middle of
    a pixel is half a pixel from where its corner is taken to.

    Args:
        points: float64 (n, 4, 2), x and y.
        images: float64 (4, 2), where they are taken to.
    """
    x, y = points.unbind(-1)  # (n, 4)
    u, v = images.unbind(-1)  # (4,)
    one, none = torch.ones_like(x), torch.zeros_like(x)
    across = torch.stack([x, y, one, none, none, none, -u * x, -u * y], dim=-1)  # (n, 4, 8)
    down = torch.stack([none, none, none, x, y, one, -v * x, -v * y], dim=-1)
    told = torch.cat([u, v]).expand(len(points), -1).unsqueeze(-1)
    found = torch.linalg.lstsq(torch.cat([across, down], dim=1), told).solution  # (n, 8, 1)
    matrix = torch.cat([found, torch.ones_like(found[:, :1])], dim=1).view(-1, 3, 3)
    half = torch.full((len(points),), 0.5, dtype=torch.float64)
    return _shift(-half, -half) @ matrix @ _shift(half, half)


def _keras_affine(
    shape: tuple[int, int, int], generator: torch.Generator, *, rotation: float, shift: float, shear: float, zoom: float
) -> Warp:
    """Keras's ImageDataGenerator: in rows and columns about the middle, turned, moved, sheared (degrees), zoomed."""
    number, height, width = shape
    angle = uniform(number, -rotation, rotation, generator).deg2rad()
    down, across = (uniform(number, -shift * side, shift * side, generator) for side in (height, width))
    slant = uniform(number, -shear, shear, generator).deg2rad()
    zoom_down, zoom_across = (uniform(number, 1 - zoom, 1 + zoom, generator) for _ in range(2))
    turned = _matrix(angle.cos(), -angle.sin(), angle.sin(), angle.cos())
    slanted = _matrix(1, -slant.sin(), 0, slant.cos())
    matrix = turned @ _shift(down, across) @ slanted @ _matrix(zoom_down, 0, 0, zoom_across)
    rows_first = torch.tensor([1, 0, 2])
    return Warp(matrix=_centred(matrix[:, rows_first][:, :, rows_first], height, width), edge=True)


def _turn(degrees: torch.Tensor) -> torch.Tensor:
    """Places turned clockwise, as y points down; what is seen through it is turned the other way. (n, 3, 3)"""
    angle = degrees.deg2rad()
    return _matrix(angle.cos(), -angle.sin(), angle.sin(), angle.cos())


def _matrix(*values: torch.Tensor | float) -> torch.Tensor:
    """Linear maps from their four values, row by row, float64 (n, 3, 3)."""
    number = next(len(each) for each in values if isinstance(each, torch.Tensor))
    matrix = torch.eye(3, dtype=torch.float64).repeat(number, 1, 1)
    for value, (row, column) in zip(values, ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True):
        matrix[:, row, column] = value
    return matrix


def _shift(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    matrix = torch.eye(3, dtype=torch.float64).repeat(len(x), 1, 1)
    matrix[:, 0, 2], matrix[:, 1, 2] = x, y
    return matrix


def _centred(matrix: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The map about the middle of the image instead of its first pixel."""
    x, y = (torch.full((len(matrix),), (side - 1) / 2, dtype=torch.float64) for side in (width, height))
    return _shift(x, y) @ matrix @ _shift(-x, -y)


def _or_still(taken: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    return torch.where(taken.view(-1, 1, 1), matrix, torch.eye(3, dtype=torch.float64))


DRAWS: Mapping[str, Callable[..., Change]] = MappingProxyType(
    {
        "center_crop": _center_crop,
        "crop": _crop,
        "resized_crop": _resized_crop,
        "hflip": _hflip,
        "vflip": _vflip,
        "rotate": _rotate,
        "affine": _affine,
        "perspective": _perspective,
        "keras_affine": _keras_affine,
    }
)
"""Operation -> draw((n, height, width), generator, **settings)."""
