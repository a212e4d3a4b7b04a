"""Decodes one image file to uint8, whatever its mode, depth and orientation.

It neither resizes nor crops, and it opens no medical containers such as DICOM.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

_DEEP = ("I", "F")
"""First letters of Pillow's modes with more than 8 bits a pixel: I, I;16, I;16B, F."""


def decode_file(path: Path, channels: int) -> np.ndarray:
    """The image as uint8, height x width x channels, upright as its EXIF orientation says.

    Colour becomes grey by ITU-R 601-2 luma for 1 channel, grey is repeated for 3; palette, CMYK and YCbCr images are
    converted by Pillow. An alpha channel is dropped, not composited: the colours under it are kept as they are stored.
    Grey images of more than 8 bits are stretched linearly so that the image's own lowest value becomes 0 and its
    highest 255 (a constant image becomes 0), because the range of the type is rarely the range that was recorded.
    Colour of 16 bits a channel keeps its upper 8 bits. Of several frames the first is taken.

    Raises:
        ValueError: when the file cannot be decoded or holds a value that is not finite, naming its full path.
    """
    try:
        with Image.open(path) as file:
            upright = ImageOps.exif_transpose(file)
            flat = _to_eight_bits(upright) if upright.mode.startswith(_DEEP) else _without_palette(upright)
            pixels = np.asarray(flat.convert("L" if channels == 1 else "RGB"))  # (height, width[, 3])
    except Exception as error:  # a damaged file makes Pillow raise nearly anything; only the path is missing in it
        raise ValueError(f"image {path} cannot be decoded: {error}") from error
    return pixels.reshape(*pixels.shape[:2], channels)


def _to_eight_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float64)
    low, high = values.min(), values.max()
    if not np.isfinite([low, high]).all():
        raise ValueError("it holds values that are not finite")
    span = high - low if high > low else 1.0
    return Image.fromarray(np.rint((values - low) * (255 / span)).astype(np.uint8))


def _without_palette(image: Image.Image) -> Image.Image:
    """The image in a mode that converts to grey and to colour: palettes and premultiplied colours are resolved."""
    return image.convert("RGBA") if image.mode in ("P", "PA", "RGBa") else image
