"""Decodes one image file to uint8, whatever its mode, depth and orientation; DICOM files too.

It neither resizes nor crops, and it opens no containers of many images: arrays and volumes are their sets' business.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from sweeper.data.dicom import DICOM_SUFFIXES, open_dicom
from sweeper.data.stretch import to_eight_bits

_DEEP = ("I", "F")
"""First letters of Pillow's modes with more than 8 bits a pixel: I, I;16, I;16B, F."""


def decode_file(path: Path, channels: int) -> np.ndarray:
    """The image as uint8, height x width x channels, upright as its EXIF orientation says.

    Colour becomes grey by ITU-R 601-2 luma for 1 channel, grey is repeated for 3; palette, CMYK and YCbCr images are
    converted by Pillow. An alpha channel is dropped, not composited: the colours under it are kept as they are stored.
    Grey images of more than 8 bits are stretched linearly so that the image's own lowest value becomes 0 and its
    highest 255 (a constant image becomes 0), because the range of the type is rarely the range that was recorded.
    Colour of 16 bits a channel keeps its upper 8 bits. Of several frames the first is taken. A file called `.dcm` is
    read as `dicom.open_dicom` says.

    Raises:
        ValueError: when the file cannot be decoded or holds a value that is not finite, naming its full path.
    """
    try:
        image = open_dicom(path) if path.suffix.lower() in DICOM_SUFFIXES else _open_picture(path)
        mode = "L" if channels == 1 else "RGB"
        pixels = np.asarray(image if image.mode == mode else image.convert(mode))  # (height, width[, 3])
    except Exception as error:  # a damaged file makes Pillow raise nearly anything; only the path is missing in it
        raise ValueError(f"image {path} cannot be decoded: {error}; replace it by a sound copy") from error
    return pixels.reshape(*pixels.shape[:2], channels)


def _open_picture(path: Path) -> Image.Image:
    """The image upright, in a mode that converts to grey and to colour."""
    with Image.open(path) as image:
        ImageOps.exif_transpose(image, in_place=True)  # else it copies what stands upright already
        image.load()
    if image.mode.startswith(_DEEP):
        return Image.fromarray(to_eight_bits(np.asarray(image)))
    return _without_palette(image)


def _without_palette(image: Image.Image) -> Image.Image:
    """The image with palettes and premultiplied colours resolved."""
    return image.convert("RGBA") if image.mode in ("P", "PA", "RGBa") else image
