"""DICOM files as pictures of 8 bits: modality values, the file's own window, and bright where the tissue is bright.

Volumes are not put together, overlays are not drawn, and padding values count as values. pydicom is imported inside
the functions.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from sweeper.data.stretch import to_eight_bits

if TYPE_CHECKING:
    from pydicom import Dataset as Dicom

DICOM_SUFFIXES = (".dcm", ".dicom")


def open_dicom(path: Path) -> Image.Image:
    """The first frame as a picture of mode L or RGB.

    Grey values are first rescaled by the modality lookup table, or by slope and intercept. Then the file's first window
    maps them to 0..255: its VOI lookup table, or its centre and width by the function that it names (PS3.3 C.11.2.1.2).
    Without a window, 8 unsigned bits that were not rescaled stay as they are, and anything else is stretched from its
    own lowest to its own highest value, as other images of more than 8 bits are. MONOCHROME1, where low values are
    bright, is inverted at the end. Colour of more than 8 bits keeps the upper 8; palettes are looked up.

    Raises:
        Exception: what pydicom raises for a file that it cannot read, or whose compression needs a package more.
        ValueError: when a window has no width, or a value is not finite.
    """
    from pydicom import dcmread
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    dicom = dcmread(path)
    stored = pixel_array(dicom, index=0)  # (height, width[, 3]); YBR comes as RGB
    match dicom.PhotometricInterpretation:
        case "MONOCHROME1":
            return Image.fromarray(255 - _grey(stored, dicom))
        case "MONOCHROME2":
            return Image.fromarray(_grey(stored, dicom))
        case "PALETTE COLOR":
            colours = apply_color_lut(stored, dicom)
            return Image.fromarray(_upper_eight(colours, 8 * colours.dtype.itemsize))
        case _:
            return Image.fromarray(_upper_eight(stored, dicom.BitsStored))


def window(values: np.ndarray, centre: float, width: float, function: str = "LINEAR") -> np.ndarray:
    """uint8: what a window of a DICOM file makes of modality values.

    Args:
        centre: in the values' unit.
        width: likewise, at least 1 for LINEAR and above 0 for the others.
        function: LINEAR, LINEAR_EXACT or SIGMOID.
    """
    if width <= 0 or (function == "LINEAR" and width < 1):
        raise ValueError(f"its window has the width {width}")
    values = values.astype(np.float64)
    match function:
        case "LINEAR":
            above = values - (centre - 0.5)
            share = above / (width - 1) + 0.5 if width > 1 else (above > 0).astype(np.float64)
        case "LINEAR_EXACT":
            share = (values - centre) / width + 0.5
        case "SIGMOID":
            share = 1 / (1 + np.exp(-4 * (values - centre) / width))
        case _:
            raise ValueError(f"its window function is {function}; it must be LINEAR, LINEAR_EXACT or SIGMOID")
    return np.rint(255 * share.clip(0, 1)).astype(np.uint8)


def _grey(stored: np.ndarray, dicom: "Dicom") -> np.ndarray:
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    values = apply_modality_lut(stored, dicom)
    if "VOILUTSequence" in dicom:
        bits = dicom.VOILUTSequence[0].LUTDescriptor[2]
        looked_up = apply_voi_lut(values.astype(np.int64), dicom, index=0)
        return np.rint(looked_up * (255 / (2**bits - 1))).astype(np.uint8)
    if dicom.get("WindowCenter") is not None and dicom.get("WindowWidth") is not None:
        function = dicom.get("VOILUTFunction") or "LINEAR"
        return window(values, _first(dicom.WindowCenter), _first(dicom.WindowWidth), function)
    as_stored = stored.dtype == np.uint8 and dicom.BitsStored == 8 and values is stored
    return stored if as_stored else to_eight_bits(values)


def _first(value: Any) -> float:
    """A file may name several windows; the first is what a viewer shows."""
    return float(value[0] if isinstance(value, Sequence) else value)


def _upper_eight(colours: np.ndarray, bits: int) -> np.ndarray:
    return (colours >> max(bits - 8, 0)).astype(np.uint8)
