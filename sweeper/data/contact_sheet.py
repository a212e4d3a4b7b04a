"""A contact sheet of an image set: a row a class, a few images each, drawn into PNG files.

Which images are shown depends on the set alone: those evenly spaced over the sorted names. Nothing is cropped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from sweeper.data.dataset import PARTS
from sweeper.data.looking import as_picture

IMAGES = 8
"""Of a class."""
_ROWS = 20
"""Classes on a sheet: more would be too tall to look at."""
_GAP, _TITLE, _NAME = 10, 17, 11
"""Pixels: between images, and the heights of both kinds of letters."""
_NAME_LINES, _NAME_LINE = 2, _NAME + 4
_INK, _PALE, _RULE, _PAPER = "#1a1a1a", "#5a5a5a", "#c8c8c8", "#ffffff"
SMALLEST = 64
"""Pixels of an image on a sheet, below which nothing is seen."""


def draw_sheets(
    classes: Mapping[str, pd.DataFrame],
    *,
    title: str,
    decode: Callable[[str], np.ndarray],
    size: int,
    path: Path,
) -> list[Path]:
    """The PNG files that were written: `path`, or with more than 20 classes `NAME-1.png`, `NAME-2.png`, ...

    Args:
        classes: each class's images, columns `image` and `part`; only such as can be decoded.
        decode: an image's pixels, uint8, height x width x channels.
        size: of an image on the sheet, its longer side in pixels, >= 64.
        path: ends in `.png`; its folder is made.

    Raises:
        ValueError: when the size is too small to see anything.
    """
    if size < SMALLEST:
        raise ValueError(f"the images of a contact sheet cannot be {size} pixels; it must be at least {SMALLEST}")
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = list(classes.items())
    pages = [rows[first : first + _ROWS] for first in range(0, len(rows), _ROWS)]
    paths = [path if len(pages) == 1 else path.with_name(f"{path.stem}-{page + 1}.png") for page in range(len(pages))]
    for page, (shown, file) in enumerate(zip(pages, paths, strict=True)):
        head = title if len(pages) == 1 else f"{title}, sheet {page + 1} of {len(pages)}"
        _sheet(shown, head, decode, size).save(file)
    return paths


def chosen(images: Sequence[str]) -> list[str]:
    """At most 8 images, evenly spaced over the sorted names, the first and the last among them."""
    ordered = sorted(images)
    places = np.linspace(0, len(ordered) - 1, min(IMAGES, len(ordered))).round().astype(int)
    return [ordered[place] for place in places]


def thumbnail(pixels: np.ndarray, size: int) -> Image.Image:
    """The image with its longer side at `size`; smaller ones are enlarged by whole pixels, so that one sees them."""
    image = as_picture(pixels)
    scale = size / max(image.size)
    if scale >= 2:
        return image.resize((image.width * int(scale), image.height * int(scale)), Image.Resampling.NEAREST)
    shape = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(shape, Image.Resampling.LANCZOS)


def _sheet(
    rows: Sequence[tuple[str, pd.DataFrame]], title: str, decode: Callable[[str], np.ndarray], size: int
) -> Image.Image:
    height = _TITLE + 2 * _GAP + size + _NAME_LINES * _NAME_LINE + _GAP // 2
    first = 3 * _GAP + _TITLE
    sheet = Image.new("RGB", (_GAP + IMAGES * (size + _GAP), first + len(rows) * height), _PAPER)
    _write(sheet, (_GAP, _GAP), title)
    for number, (label, own) in enumerate(rows):
        top = first + number * height
        ImageDraw.Draw(sheet).line((_GAP, top - _GAP // 2, sheet.width - _GAP, top - _GAP // 2), fill=_RULE)
        _write(sheet, (_GAP, top), _row_title(label, own))
        for column, image in enumerate(chosen(list(own["image"]))):
            _place(sheet, (_GAP + column * (size + _GAP), top + _TITLE + _GAP), image, decode(image), size)
    return sheet


def _place(sheet: Image.Image, corner: tuple[int, int], image: str, pixels: np.ndarray, size: int) -> None:
    """Puts an image into the middle of its square, and its name below."""
    left, top = corner
    small = thumbnail(pixels, size)
    sheet.paste(small, (left + (size - small.width) // 2, top + (size - small.height) // 2))
    for number, text in enumerate(_lines(image, size)):
        place = (left, top + size + 4 + number * _NAME_LINE)
        ImageDraw.Draw(sheet).text(place, text, fill=_PALE, font=_font(_NAME))


def _write(sheet: Image.Image, place: tuple[int, int], text: str) -> None:
    """A line as long as the sheet is wide."""
    font = _font(_TITLE)
    ImageDraw.Draw(sheet).text(place, _cut(text, font, sheet.width - 2 * _GAP), fill=_INK, font=font)


def _row_title(label: str, own: pd.DataFrame) -> str:
    parts = [f"{part} {(own['part'] == part).sum()}" for part in PARTS if (own["part"] == part).any()]
    told = f" ({', '.join(parts)})" if parts else ""
    return f"{label}: {len(own)} image{'' if len(own) == 1 else 's'}{told}"


def _lines(image: str, width: int) -> Iterator[str]:
    """The image's name; a longer one without its folders, on two lines, and of what is longer still not the middle."""
    font = _font(_NAME)
    name = image if font.getlength(image) <= width else image.rpartition("/")[2]
    first = next((end for end in range(len(name), 1, -1) if font.getlength(name[:end]) <= width), 1)
    yield name[:first]
    if rest := name[first:]:
        yield _cut(rest[::-1], font, width)[::-1]


def _cut(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text, or as much of its beginning as fits with three dots."""
    if font.getlength(text) <= width:
        return text
    ends = (end for end in range(len(text), 0, -1) if font.getlength(f"{text[:end]}...") <= width)
    return f"{text[: next(ends, 0)]}..."


def _font(height: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which has most alphabets and comes with matplotlib."""
    from matplotlib import get_data_path

    return ImageFont.truetype(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), height)
