"""Pictures of one cell as PNG: images in the plane, maps of Grad-CAM over images, filters before and after training.

Nothing is computed here but colours. Figures that compare cells are the analysis' business.
"""

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#222222")
"""Told apart by colour-blind people (Okabe & Ito 2008)."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""The next one where the colours come again."""
LOOKS = len(COLOURS) * len(MARKERS)
"""Classes that are told apart."""
_TEXT, _SMALL, _INK = 9.0, 7.5, "#222222"
_DOTS_PER_INCH = 150
_ACROSS = 4
"""Images side by side on a sheet of maps."""
_PANEL = 1.9
"""Inches of an image."""
PANELS = 24
"""Classes that have a plane of their own where an image may have several."""
_KNOWN: Mapping[float | None, tuple[str, str, str, int]] = {
    1.0: ("of the class", COLOURS[1], "o", 3),
    0.0: ("not of it", "#c8c8c8", "o", 1),
    None: ("not known", COLOURS[5], "^", 2),
}
"""What is known of an image and a class -> what it is called, its colour, its marker, and what is drawn over what."""
_HEAT = "inferno"
_OPAQUE = 0.75
"""Of the map where it is highest; it fades with its value, so that the image is seen where there is nothing."""
_LETTERS = 15.0
"""That fit into an inch."""


@dataclass(frozen=True, kw_only=True)
class Map:
    """An image and where in it a class is seen."""

    title: str
    pixels: np.ndarray
    """uint8 (height, width, 3)."""
    values: np.ndarray
    """(rows, columns) over the whole image, >= 0."""


def plane_png(points: np.ndarray, labels: np.ndarray, classes: Sequence[str], *, title: str, x: str, y: str) -> bytes:
    """Images in the plane, a dot each, coloured by class; those that are drawn later do not hide a class.

    Args:
        points: (images, 2).
        labels: (images,), of `classes`.
        x: what the horizontal axis is; an empty text where it has no unit, as of t-SNE, whose ticks are left out.
        y: the vertical one.
    """
    columns = -(-len(classes) // 24)
    figure = Figure(figsize=(5.6 + 1.3 * columns, 5.0), layout="constrained")
    axes = figure.subplots()
    order = np.random.default_rng(0).permutation(len(points))
    inks = [(COLOURS[n % len(COLOURS)], MARKERS[n // len(COLOURS) % len(MARKERS)]) for n in range(len(classes))]
    size = float(np.clip(4000 / len(points), 4, 24))
    for place in order if len(points) <= 500 else _by_class(order, labels):
        chosen = np.atleast_1d(place)
        colour, marker = inks[int(labels[chosen[0]])]
        axes.scatter(*points[chosen].T, s=size, color=colour, marker=marker, alpha=0.75, linewidth=0)
    _dress(axes, title, width=5.6)
    axes.set_xlabel(x, fontsize=_TEXT)
    axes.set_ylabel(y, fontsize=_TEXT)
    if not x:
        axes.set_xticks([])
        axes.set_yticks([])
    handles = [
        Line2D([], [], color=colour, marker=marker, ls="none", markersize=5, label=textwrap.shorten(name, 24))
        for name, (colour, marker) in zip(classes, inks, strict=True)
    ]
    figure.legend(handles=handles, loc="outside right upper", ncols=columns, fontsize=_SMALL, frameon=False)
    return _png(figure)


def planes_png(points: np.ndarray, labels: np.ndarray, classes: Sequence[str], *, title: str, x: str, y: str) -> bytes:
    """The plane once for each of the first classes: the images of it over all others, where an image may have several.

    Over a panel stands of how many of the images of which it is known. The last panel is of images of no class at all.

    Args:
        points: (images, 2).
        labels: (images, classes): 1, 0, or NaN where it is not known.
        x: as of `plane_png`.
        y: as of `plane_png`.
    """
    labels = np.asarray(labels, dtype=np.float64)
    none = np.where((labels == 1).any(axis=1), 0.0, np.where(np.isnan(labels).any(axis=1), np.nan, 1.0))  # (images,)
    shown = [*zip(classes[:PANELS], labels.T[:PANELS], strict=True), ("none of the classes", none)]
    across = min(5, len(shown))
    rows = -(-len(shown) // across)
    figure = Figure(figsize=(_PANEL * across, (_PANEL + 0.15) * rows + 1.1), layout="constrained")
    grid = figure.subplots(rows, across, squeeze=False, sharex=True, sharey=True).ravel()
    size = float(np.clip(1500 / len(points), 2, 12))
    for axes, (name, label) in zip(grid, shown, strict=False):
        for value, (_, colour, marker, order) in _KNOWN.items():
            dots = points[np.isnan(label) if value is None else label == value]
            axes.scatter(*dots.T, s=size, color=colour, marker=marker, linewidth=0, zorder=order)
        count = f"{int(np.nansum(label))} of {int((~np.isnan(label)).sum())}"
        _dress(axes, f"{textwrap.shorten(name, 26)}\n{count}", width=_PANEL, size=_SMALL)
        if not x:
            axes.set_xticks([])
            axes.set_yticks([])
    for axes in grid[len(shown) :]:
        axes.set_visible(False)
    handles = [
        Line2D([], [], color=colour, marker=marker, ls="none", markersize=4, label=text)
        for value, (text, colour, marker, _) in _KNOWN.items()
        if value is not None or np.isnan(labels).any()
    ]
    figure.legend(handles=handles, loc="outside lower right", ncols=len(handles), fontsize=_SMALL, frameon=False)
    figure.supxlabel(x, fontsize=_TEXT, color=_INK)
    figure.supylabel(y, fontsize=_TEXT, color=_INK)
    figure.suptitle(_filled(title, _PANEL * across), fontsize=_TEXT, color=_INK, x=0.01, ha="left")
    return _png(figure)


def maps_png(shown: Sequence[Map], *, title: str) -> bytes:
    """Every image, and below it the same image under its map: scaled to its own highest value, a line at half of it."""
    across = min(_ACROSS, len(shown))
    rows = -(-len(shown) // across)
    figure = Figure(figsize=(_PANEL * across + 0.2, (2 * _PANEL + 0.35) * rows + 0.6), layout="constrained")
    grid = figure.subplots(2 * rows, across, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    for number, each in enumerate(shown):
        row, column = divmod(number, across)
        above, below = grid[2 * row, column], grid[2 * row + 1, column]
        above.imshow(each.pixels, interpolation="nearest")
        above.set_title(_filled(each.title, _PANEL), fontsize=_SMALL, loc="left", color=_INK)
        _overlay(below, each)
    note = "below: the maps, each from 0 to its own highest value; inside the line, above half of it"
    figure.suptitle(_filled(f"{title}\n{note}", _PANEL * across), fontsize=_TEXT, color=_INK, x=0.01, ha="left")
    return _png(figure)


def filters_png(grids: Mapping[str, np.ndarray], change: np.ndarray, *, largest: float, title: str) -> bytes:
    """Grids of filters side by side, grey, and what changed from the first to the last, blue down and red up.

    Args:
        grids: title -> (height, width) in 0..1.
        change: (height, width) in -1..1, NaN between filters.
        largest: the change that is drawn as 1, in the weights' own unit.
    """
    figure = Figure(figsize=(2.7 * (len(grids) + 1), 3.3), layout=ConstrainedLayoutEngine(w_pad=0.12))
    places = figure.subplots(1, len(grids) + 1, squeeze=False).ravel()
    for axes, (name, picture) in zip(places, grids.items(), strict=False):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(name, fontsize=_SMALL, loc="left", color=_INK)
    places[-1].imshow(change, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    places[-1].set_title(f"change, from -{largest:.2g} to {largest:.2g}", fontsize=_SMALL, loc="left", color=_INK)
    for axes in places:
        axes.set_axis_off()
    figure.suptitle(_filled(title, 2.7 * (len(grids) + 1)), fontsize=_TEXT, color=_INK, x=0.01, ha="left")
    return _png(figure)


def _by_class(order: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """The images in a few layers of all classes, for thousands of single dots take minutes."""
    return [layer[labels[layer] == label] for layer in np.array_split(order, 8) for label in np.unique(labels[layer])]


def _overlay(axes: Axes, shown: Map) -> None:
    height, width = shown.pixels.shape[:2]
    axes.imshow(shown.pixels, interpolation="nearest")
    highest = float(shown.values.max())
    if highest == 0:
        axes.text(0.5, 0.5, "nothing", transform=axes.transAxes, ha="center", va="center", color="white",
                  fontsize=_TEXT, bbox={"facecolor": _INK, "linewidth": 0})  # fmt: skip
        return
    share = shown.values / highest
    axes.imshow(
        share, cmap=_HEAT, vmin=0, vmax=1, alpha=_OPAQUE * share, interpolation="bilinear",
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
    )  # fmt: skip
    rows, columns = share.shape
    if share.min() < 0.5:
        x, y = (_middles(count, side) for count, side in ((columns, width), (rows, height)))
        axes.contour(x, y, np.pad(share, 1, mode="edge"), levels=[0.5], colors=[COLOURS[5]], linewidths=1.2)


def _middles(count: int, side: int) -> np.ndarray:
    """The middles of so many places on a side of an image, and its two ends, in pixels."""
    return np.concatenate([[0], np.arange(count) + 0.5, [count]]) * side / count - 0.5


def _dress(axes: Axes, title: str, *, width: float, size: float = _TEXT) -> None:
    axes.set_title(_filled(title, width), fontsize=size, color=_INK, loc="left")
    axes.tick_params(labelsize=_SMALL, length=2)
    axes.spines[["top", "right"]].set_visible(False)


def _filled(text: str, inches: float) -> str:
    return "\n".join(textwrap.fill(line, int(inches * _LETTERS)) for line in text.split("\n"))


def _png(figure: Figure) -> bytes:
    """Equal for equal figures."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()
