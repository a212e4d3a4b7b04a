"""Cuts, mirrors and warps the images of a batch, each in its own way, in one resampling.

What happens to which image is drawn in `augment_draws`; colours are `augment_colours`' business.

Places are counted in pixels, x to the right and y down; the centre of the first pixel is (0, 0). All tensors that say
what to do lie on the CPU, so that nobody waits for a GPU to know which images change.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn import functional as F

from sweeper.data.augment_pixels import chosen_of, exchanged, mirrored, pick, put
from sweeper.data.memory import empty_images
from sweeper.data.moving import move

_PIXELS_AT_ONCE = 2**16
"""That a CPU resamples at once: more do not stay in a core's own cache, and take twice as long (AMD EPYC)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Flip:
    """Some images mirrored."""

    chosen: torch.Tensor
    """bool (n,)"""
    axis: int
    """-1: left to right; -2: top to bottom."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cut:
    """A window of each image, stretched to the size of the whole; it may reach beyond the image, into black."""

    left: torch.Tensor
    """int64 (n,), as the others."""
    top: torch.Tensor
    width: torch.Tensor
    height: torch.Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Warp:
    """Each image seen through a projective map; where that leaves the image it is black, or its edge."""

    matrix: torch.Tensor
    """float64 (n, 3, 3): (x, y, 1) in the result -> the place in the image, up to scale."""
    edge: bool
    """Whether the edge goes on outside the image, or all is black."""


Change = Flip | Cut | Warp


def placed(images: torch.Tensor, changes: Sequence[Change]) -> torch.Tensor:
    """The images after the changes, one after the other, with a single bilinear resampling, in channels_last.

    What a change leaves behind is what the next one sees: a turned image has black corners wherever it is moved. Images
    that nothing happens to, and those that are only mirrored, keep their very pixels.

    Args:
        images: (n, channels, h, w), uint8 (what is resampled is rounded) or float.
    """
    height, width = images.shape[-2:]
    touched = torch.stack([_touched(each, height, width) for each in changes]).any(dim=0)  # (n,)
    if not touched.any():
        return images
    if images.device.type == "cpu" and _is_plain(changes, height, width):
        return _cut_each(images, changes)
    if not touched.all():
        rows = touched.nonzero().squeeze(1)
        return exchanged(images, rows, placed(chosen_of(images, rows), [_of(each, rows) for each in changes]))
    if all(isinstance(each, Flip) for each in changes):
        return pick(images, *(mirrored(side, _flipped(changes, axis)) for axis, side in ((-2, height), (-1, width))))
    if images.device.type != "cpu":
        return _sample(images, changes).to(images.dtype).contiguous(memory_format=torch.channels_last)
    found = empty_images(images, images.dtype)
    for rows in torch.arange(len(images)).split(max(_PIXELS_AT_ONCE // (height * width), 1)):
        put(found, rows, _sample(images[rows], [_of(each, rows) for each in changes]))
    return found


def _touched(change: Change, height: int, width: int) -> torch.Tensor:
    """Which images it changes, bool (n,)."""
    match change:
        case Flip():
            return change.chosen
        case Cut():
            return (change.left != 0) | (change.top != 0) | (change.width != width) | (change.height != height)
        case Warp():
            return (change.matrix != torch.eye(3, dtype=change.matrix.dtype)).flatten(1).any(dim=1)


def _of(change: Change, rows: torch.Tensor) -> Change:
    """The same change of these images alone."""
    match change:
        case Flip():
            return replace(change, chosen=change.chosen[rows])
        case Cut():
            return Cut(**{name: side[rows] for name, side in vars(change).items()})
        case Warp():
            return replace(change, matrix=change.matrix[rows])


def _flipped(changes: Sequence[Change], axis: int) -> torch.Tensor:
    """Which images are mirrored along the axis, bool (n,): twice is not at all."""
    chosen = torch.zeros(_number(changes[0]), dtype=torch.bool)
    for each in changes:
        if isinstance(each, Flip) and each.axis == axis:
            chosen = chosen ^ each.chosen
    return chosen


def _number(change: Change) -> int:
    """Of the images that it is about."""
    return len(next(iter(vars(change).values())))


def _is_plain(changes: Sequence[Change], height: int, width: int) -> bool:
    """Whether it is mirroring, and before that one cut at most, inside the images."""
    first, *others = changes
    return (isinstance(first, Flip) or (isinstance(first, Cut) and _is_inside(first, height, width))) and all(
        isinstance(each, Flip) for each in others
    )


def _is_inside(cut: Cut, height: int, width: int) -> bool:
    across = (cut.left >= 0) & (cut.left + cut.width <= width)
    return bool((across & (cut.top >= 0) & (cut.top + cut.height <= height)).all())


def _cut_each(images: torch.Tensor, changes: Sequence[Change]) -> torch.Tensor:
    """What `_sample` makes of them, up to rounding, ten times as fast: torch stretches windows of bytes by itself."""
    number, _, height, width = images.shape
    windows = torch.tensor([[0, 0, width, height]]).expand(number, -1)
    for each in changes:
        if isinstance(each, Cut):
            windows = torch.stack([each.left, each.top, each.width, each.height], dim=1)
    flips = zip(_flipped(changes, -2).tolist(), _flipped(changes, -1).tolist(), strict=True)
    found = empty_images(images, images.dtype)
    for row, ((left, top, wide, high), (vertical, horizontal)) in enumerate(zip(windows.tolist(), flips, strict=True)):
        window = images[row : row + 1, :, top : top + high, left : left + wide]
        axes = [axis for axis, asked in ((-2, vertical), (-1, horizontal)) if asked]
        _stretch_into(found[row : row + 1], window, axes)
    return found


def _stretch_into(found: torch.Tensor, window: torch.Tensor, axes: list[int]) -> None:
    """Writes the window of one image, stretched and then mirrored along the axes, to its place."""
    size = list(found.shape[-2:])
    if list(window.shape[-2:]) != size:
        if not axes:
            torch.ops.aten.upsample_bilinear2d.out(window, size, False, None, None, out=found)  # F.interpolate copies
            return
        window = F.interpolate(window, size=size, mode="bilinear", align_corners=False)
    found.copy_(window.flip(axes) if axes else window)


def _sample(images: torch.Tensor, changes: Sequence[Change]) -> torch.Tensor:
    """The images as floats, which are whole numbers of 0..255 where they were bytes."""
    height, width = images.shape[-2:]
    x = torch.arange(width, dtype=torch.float32, device=images.device).view(1, 1, -1)
    y = torch.arange(height, dtype=torch.float32, device=images.device).view(1, -1, 1)
    light: torch.Tensor | None = None
    for change in reversed(changes):
        x, y, seen = _trace(change, x, y, height, width)
        light = seen if light is None else light if seen is None else light * seen
    shape = (len(images), height, width)
    grid = torch.empty((*shape, 2), dtype=torch.float32, device=images.device)
    grid[..., 0] = (2 * x + 1) / width - 1  # to stack them takes five times as long
    grid[..., 1] = (2 * y + 1) / height - 1
    found = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)  # (n, channels, h, w)
    if light is not None:
        found = found * light.expand(shape).unsqueeze(1)
    if not images.is_floating_point():
        found = found.round_().clamp_(0, 255)
    return found


def _trace(
    change: Change, x: torch.Tensor, y: torch.Tensor, height: int, width: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Where places in the result lie in the image, inside of it, and how much of each is not black; None: all of it.

    Half a pixel beyond the edge a place is half black, as where black pixels lie around an image.
    """
    match change:
        case Flip():
            chosen = _shown(change.chosen, x.device)
            mirrored_x, mirrored_y = (width - 1 - x, y) if change.axis == -1 else (x, height - 1 - y)
            return torch.where(chosen, mirrored_x, x), torch.where(chosen, mirrored_y, y), None
        case Cut():
            x = _stretch(x, _shown(change.left, x.device), _shown(change.width, x.device), width)
            y = _stretch(y, _shown(change.top, y.device), _shown(change.height, y.device), height)
            if _is_inside(change, height, width):
                return x, y, None
        case Warp():
            x, y = _project(move(change.matrix.float(), x.device), x, y)
            if change.edge:
                return x.clamp(0, width - 1), y.clamp(0, height - 1), None
    return x.clamp(0, width - 1), y.clamp(0, height - 1), _inside(x, width) * _inside(y, height)


def _shown(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    return move(values, device).view(-1, 1, 1)


def _stretch(x: torch.Tensor, first: torch.Tensor, length: torch.Tensor, whole: int) -> torch.Tensor:
    """Places in the window that is `length` long; beyond its outer pixels' centres it is as they are."""
    return first + ((x + 0.5) * (length / whole) - 0.5).clamp(min=0).minimum(length - 1)


def _project(matrix: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    rows = [[each.view(-1, 1, 1) for each in row.unbind(1)] for row in matrix.unbind(1)]
    across, down, depth = (each * x + (other * y + rest) for each, other, rest in rows)
    return across / depth, down / depth


def _inside(x: torch.Tensor, length: int) -> torch.Tensor:
    """How much of a pixel at x is image, 0..1."""
    return torch.minimum(x + 1, length - x).clamp(0, 1)
