"""Sheets of panels for the studies' figures: at most two a row, names told apart by colour and marker.

`panels` draws lines; `shapes` and `clouds` draw all else on these sheets. matplotlib's global state is left alone.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis import look
from analysis.names import name_metric
from analysis.panels import Chart

_COLOURS = (*look.COLOURS, look.INK)
TITLE_WIDTH = 46
"""Characters that fit over a panel."""


@dataclass(frozen=True, kw_only=True)
class Ink:
    """What one name looks like in a figure."""

    colour: str
    marker: str
    hatch: str = ""


def inks(names: Iterable[str]) -> dict[str, Ink]:
    """Name -> colour, marker and hatch; `random` is grey, and colours that come again are hatched."""
    others = [name for name in dict.fromkeys(names) if name != look.BASELINE]
    many = len(_COLOURS)
    found = {
        name: Ink(
            colour=_COLOURS[number % many],
            marker=look.MARKERS[(number + 1) % len(look.MARKERS)],
            hatch=look.HATCHES[number // many % len(look.HATCHES)],
        )
        for number, name in enumerate(others)
    }
    return found | {look.BASELINE: Ink(colour=look.QUIET, marker=look.MARKERS[0])}


def sheet(
    number: int, *, across: int = look.PAGE, width: float = look.PANEL_WIDTH, height: float = look.PANEL_HEIGHT
) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels, row by row.

    Args:
        number: of panels, >= 1.
        across: most panels in a row.
        width: inches of a panel.
        height: inches of a panel.
    """
    columns = min(across, number)
    rows = -(-number // columns)
    figure = Figure(figsize=(width * columns, height * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes in grid[number:]:
        axes.set_visible(False)
    return figure, grid[:number]


def dress(axes: Axes, *, title: str = "", x_label: str = "", y_label: str = "", grid: bool = True) -> None:
    """Titles, labels and lines of one panel in the common style."""
    axes.set_title(textwrap.fill(title, TITLE_WIDTH), fontsize=look.TEXT, color=look.INK, loc="left")
    axes.set_xlabel(x_label, fontsize=look.TEXT, color=look.INK)
    axes.set_ylabel(y_label, fontsize=look.TEXT, color=look.INK)
    axes.tick_params(which="both", labelsize=look.SMALL, colors=look.QUIET, length=2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(look.QUIET)
    if grid:
        axes.grid(axis="y", color=look.GRID, linewidth=0.6)
        axes.set_axisbelow(True)


def name_ticks(axes: Axes, names: Sequence[str]) -> None:
    """Names under places 0, 1, ...; turned where they would touch one another."""
    place, figure = axes.get_subplotspec(), axes.get_figure(root=True)
    assert figure is not None
    inches = figure.get_size_inches()[0] / (place.get_gridspec().ncols if place else 1) * 0.82
    fits = max(map(len, names)) * look.SMALL * 0.56 / 72 < inches / len(names)
    turned: dict[str, Any] = {} if fits else {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(names)), list(names), **turned)
    axes.set_xlim(-0.5, len(names) - 0.5)


def patches(known: Mapping[str, Ink], names: Iterable[str]) -> list[Artist]:
    """Filled squares for a legend."""
    return [
        Patch(facecolor=known[name].colour, edgecolor="white", hatch=known[name].hatch, label=name) for name in names
    ]


def dots(known: Mapping[str, Ink], names: Iterable[str]) -> list[Artist]:
    """Markers for a legend."""
    return [
        Line2D([], [], color=known[n].colour, marker=known[n].marker, ls="none", markersize=look.MARKER, label=n)
        for n in names
    ]


def says_n(numbers: pd.Series) -> str:
    """`n = 5`, or `n = 3 to 5`."""
    least, most = int(numbers.min()), int(numbers.max())
    return f"n = {least}" if least == most else f"n = {least} to {most}"


def line_chart(
    rows: pd.DataFrame, *, panel: pd.Series, line: pd.Series, x: str, x_label: str, y_label: pd.Series, note: str = ""
) -> Chart:
    """Lines of means with sd bars, folded to two panels a row.

    Args:
        rows: a row per point: `mean`, `sd`, `n` and the column `x`.
        panel: the panel that each row is in, which is its title too.
        line: the line that each row is on; `random` is grey.
        y_label: of each row's panel; a metric's name is put in words.
        note: over the legend; empty says how many cells a point is of.
    """
    place = pd.Series(pd.factorize(panel)[0], index=rows.index)
    points = rows.assign(
        row=(place // look.PAGE).astype("str"),
        column=(place % look.PAGE).astype("str"),
        title=panel.map(lambda text: textwrap.fill(str(text), TITLE_WIDTH)),
        y_label=y_label.map(name_metric),
        source=line.astype("str"),
        style="",
        x=rows[x],
    )
    return Chart(data=rows, points=points, x_label=x_label, note=note or None)
