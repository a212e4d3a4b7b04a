"""Moves whole pixels of each image of a batch: exact at any type, on any device.

What is drawn is drawn by `augment`; places between pixels are in `augment_places`.
"""

import torch

from sweeper.data.moving import move

AT_ONCE = 8
"""Images that a CPU changes at once where it makes floats of them: more do not stay near it (224 pixels, AMD EPYC)."""


def pick(images: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Image i with pixel (rows[i, y], columns[i, x]) at (y, x), in memory as channels_last.

    Args:
        images: (n, channels, height, width).
        rows: int64 (n, height), on the CPU.
        columns: int64 (n, width), on the CPU.
    """
    number, channels, height, width = images.shape
    lines = torch.arange(number).view(-1, 1) * height + rows  # (n, height): as if all images were one below the other
    places = move(lines * width, images.device)[:, :, None] + move(columns, images.device)[:, None, :]
    pixels = images.movedim(1, -1).reshape(-1, channels).index_select(0, places.flatten())
    return pixels.view(number, height, width, channels).movedim(-1, 1)


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


def exchanged(images: torch.Tensor, rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """The images, with `others` in place of those in these rows, in memory as channels_last.

    Args:
        rows: int64 (n,), on the CPU.
        others: (n, channels, height, width), of the same type.
    """
    found, others = images.movedim(1, -1).clone(memory_format=torch.contiguous_format), others.movedim(1, -1)
    if images.device.type == "cpu":  # ten times as fast as by index, which copies byte by byte
        for row, other in zip(rows.tolist(), others, strict=True):
            found[row] = other
    else:
        found.index_copy_(0, move(rows, images.device), others.contiguous())
    return found.movedim(-1, 1)
