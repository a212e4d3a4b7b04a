"""Moves whole pixels of each image of a batch: exact at any type, on any device.

What is drawn is drawn by `augment`; places between pixels are in `augment_places`.
"""

from itertools import cycle

import numpy as np
import torch

from sweeper.data.memory import empty_images
from sweeper.data.moving import move


def pick(images: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Image i with pixel (rows[i, y], columns[i, x]) at (y, x), in memory as channels_last.

    Args:
        images: (n, channels, height, width).
        rows: int64 (n, height), on the CPU.
        columns: int64 (n, width), on the CPU: places that go up or down by one, but may stay where they begin and end.
    """
    if images.device.type == "cpu" and images.shape[-1] > 1:
        return _slice(images, rows, columns)
    number, channels, height, width = images.shape
    lines = torch.arange(number).view(-1, 1) * height + rows  # (n, height): as if all images were one below the other
    places = move(lines * width, images.device)[:, :, None] + move(columns, images.device)[:, None, :]
    pixels = images.movedim(1, -1).reshape(-1, channels).index_select(0, places.flatten())
    return pixels.view(number, height, width, channels).movedim(-1, 1)


def _slice(images: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """What `pick` finds, by whole lines and stretches of them: a processor takes five times as long pixel by pixel."""
    found = empty_images(images, images.dtype).movedim(1, -1)
    steps = columns.diff(dim=1)
    moving = (steps != 0).int()
    first = moving.argmax(dim=1)
    last = moving.shape[1] - moving.flip(1).argmax(dim=1)  # of the places that are not the edge again
    ways = steps.gather(1, first.view(-1, 1)).squeeze(1)
    stretches = zip(first.tolist(), last.tolist(), ways.tolist(), columns.tolist(), strict=True)
    for row, (start, stop, way, places) in enumerate(stretches):
        lines = images[row].movedim(0, -1).index_select(0, rows[row])  # (height, width, channels)
        low, high = sorted((places[start], places[stop]))
        stretch = lines[:, low : high + 1]
        found[row, :, start : stop + 1] = stretch.flip(1) if way < 0 else stretch
        found[row, :, :start] = lines[:, places[0] : places[0] + 1]
        found[row, :, stop + 1 :] = lines[:, places[-1] : places[-1] + 1]
    return found.movedim(-1, 1)


def mirrored(length: int, chosen: torch.Tensor) -> torch.Tensor:
    """For each image and place along an axis the place that is seen there, int64 (n, length): its own, or the opposite.

    Args:
        chosen: bool (n,), which images are mirrored.
    """
    places = torch.arange(length)
    return torch.where(chosen.view(-1, 1), places.flip(0), places)


def slid(length: int, moved: torch.Tensor) -> torch.Tensor:
    """For each image and place along an axis the place that is seen there, int64 (n, length); the edge fills the gap.

    Args:
        moved: int64 (n,), by how many pixels.
    """
    return (torch.arange(length) + moved.view(-1, 1)).clamp(0, length - 1)


def chosen_of(images: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The images in these rows (int64, on the CPU), in memory as channels_last."""
    return images.movedim(1, -1).index_select(0, move(rows, images.device)).movedim(-1, 1)


def planes_of(images: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The images in these rows (int64, on the CPU) as floats of their own, in memory channel by channel."""
    if images.device.type == "cpu" and images.dtype == torch.uint8 and len(rows) == 1:
        pixels = images[int(rows)].numpy()  # (channels, height, width)
        return torch.from_numpy(np.array(pixels, order="C")).to(torch.float32).unsqueeze(0)  # the types in their turn
    return chosen_of(images, rows).to(torch.float32, memory_format=torch.contiguous_format)


def exchanged(images: torch.Tensor, rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """The images, with `others` in place of those in these rows, in memory as channels_last.

    Args:
        rows: int64 (n,), on the CPU.
        others: (n, channels, height, width), of the same type.
    """
    found = copied(images)
    put(found, rows, others)
    return found


def copied(images: torch.Tensor) -> torch.Tensor:
    """The images (n, channels, height, width) once more, in memory as channels_last."""
    if images.device.type != "cpu":
        return images.movedim(1, -1).clone(memory_format=torch.contiguous_format).movedim(-1, 1)
    return empty_images(images, images.dtype).copy_(images)


def put(images: torch.Tensor, rows: torch.Tensor, others: torch.Tensor) -> None:
    """Overwrites the images in these rows.

    Args:
        images: (n, channels, height, width), in memory as channels_last.
        rows: int64 (n,), on the CPU.
        others: (rows, channels or 1, height, width); floats for bytes are whole numbers of 0..255.
    """
    if images.device.type != "cpu":
        into, others = images.movedim(1, -1), others.expand(-1, images.shape[1], -1, -1).movedim(1, -1)
        into.index_copy_(0, move(rows, images.device), others.to(images.dtype).contiguous())
        return
    for row, other in zip(rows.tolist(), others, strict=True):  # by index it would be copied byte by byte
        if other.dtype == torch.float32 and images.dtype == torch.uint8:
            planes = cycle(other.numpy().astype(np.uint8))  # torch takes six times as long
            for into, plane in zip(images[row].numpy(), planes, strict=False):
                into[...] = plane
        else:
            images[row] = other
