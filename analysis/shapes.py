"""Boxes, bars and heat maps of the studies' figures, from rows; every cell is shown where there are few.

What the rows mean is the studies' business; nothing is tested here. A box is the quartiles and the median, its whiskers
reach the last value within 1.5 times their distance (Tukey 1977), and every value is a dot.
"""

import textwrap
from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis import look
from analysis.legends import legend
from analysis.sheets import Ink, dress, inks, name_ticks, patches, says_n, sheet

_GROUP = 0.8
"""Share of the distance between two x names that its boxes or bars fill."""
_MOST_IN_COLUMN = 18
"""Boxes or bars a panel of one column's width holds; more get a panel as wide as the page."""
_Draw = Callable[[Axes, float, np.ndarray, Ink, float], None]
_MAP_TITLE = 34
"""Characters over a map, which names beside it and the bar of colours make narrower than other panels."""
_MOST_DOTS = 12
"""Values of one box or bar that are drawn as dots."""


def boxes(rows: pd.DataFrame, *, y_label: str, note: str, order: list[str] | None = None) -> Figure:
    """A box per name and hue; panels where there are several.

    Args:
        rows: a row per value: `panel`, `x`, `hue`, `value`, in the order in which they come.
        order: of the hues in the legend; None is as they come.
    """
    return _grouped(rows, y_label, f"{note}, {_counts(rows)}", order, _box)


def bars(rows: pd.DataFrame, *, y_label: str, note: str, order: list[str] | None = None) -> Figure:
    """A bar per name and hue: mean and sd (n - 1 in the denominator); arguments as of `boxes`.

    The axis begins below the smallest value, not at 0, for scores differ little: lengths are not to be compared, the
    bars' ends are; the note says so.
    """
    return _grouped(rows, y_label, f"{note}, mean ± sd, {_counts(rows)}; the axis does not begin at 0", order, _bar)


def heat_maps(rows: pd.DataFrame, *, x_label: str, y_label: str, note: str, digits: int = 2, mark: int = 0) -> Figure:
    """A map per panel with its numbers written in it, all on one scale of colours.

    Args:
        rows: a row per field: `panel`, `x`, `y`, `value`; fields that are not there stay empty.
        digits: behind the point; numbers are left out where the fields are too small for them.
        mark: how many of the highest fields of each panel have a frame.
    """
    names = list(rows["panel"].unique())
    largest = max(rows[name].nunique() for name in ("x", "y"))
    figure, grid = sheet(len(names), height=look.PANEL_HEIGHT * (1.25 if largest > 5 else 1.0))
    ends = float(rows["value"].min()), float(rows["value"].max())
    image = None
    for name, axes in zip(names, grid, strict=True):
        table = rows[rows["panel"] == name].pivot(index="y", columns="x", values="value")
        image = axes.imshow(table.to_numpy(dtype=float), cmap=look.SHADES, vmin=ends[0], vmax=ends[1], aspect="auto")
        _write(axes, table, ends, digits)
        _frame(axes, table, mark)
        axes.set_xticks(range(table.shape[1])[:: -(-table.shape[1] // 12)], _ticks(table.columns))
        axes.set_yticks(range(table.shape[0])[:: -(-table.shape[0] // 12)], _ticks(table.index))
        dress(axes, x_label=x_label, y_label=y_label, grid=False)
        axes.set_title(textwrap.fill(str(name), _MAP_TITLE), fontsize=look.TEXT, color=look.INK, loc="left")
    if image is not None:
        bar = figure.colorbar(image, ax=grid, fraction=0.04)
        bar.ax.tick_params(labelsize=look.SMALL, colors=look.QUIET)
    legend(figure, [], note)
    return figure


def _grouped(rows: pd.DataFrame, y_label: str, note: str, order: list[str] | None, draw: _Draw) -> Figure:
    hues = order or list(rows["hue"].unique())
    known = inks(hues)
    names = list(rows["panel"].unique())
    most = max(len(part[["x", "hue"]].drop_duplicates()) for _, part in rows.groupby("panel"))
    wide = most > _MOST_IN_COLUMN
    figure, grid = sheet(len(names), across=1 if wide else look.PAGE, width=look.PANEL_WIDTH * (2 if wide else 1))
    for name, axes in zip(names, grid, strict=True):
        panel = rows[rows["panel"] == name]
        ticks = list(panel["x"].unique())
        here = [hue for hue in hues if (panel["hue"] == hue).any()]
        step = _GROUP / len(here)
        for (x, hue), values in panel.groupby(["x", "hue"], sort=False)["value"]:
            place = ticks.index(x) + (here.index(str(hue)) - (len(here) - 1) / 2) * step
            draw(axes, place, values.dropna().to_numpy(), known[str(hue)], step * 0.85)
        name_ticks(axes, [str(tick) for tick in ticks])
        dress(axes, title=str(name), y_label=y_label)
    legend(figure, patches(known, hues), note)
    return figure


def _box(axes: Axes, place: float, values: np.ndarray, ink: Ink, width: float) -> None:
    if not len(values):
        return
    line = {"color": look.INK, "linewidth": look.BAR}
    drawn = axes.boxplot(
        [values],
        positions=[place],
        widths=width,
        patch_artist=True,
        showfliers=False,
        manage_ticks=False,
        medianprops=line | {"linewidth": look.LINE},
        whiskerprops=line,
        capprops=line,
    )
    for box in drawn["boxes"]:
        box.set(facecolor=ink.colour, edgecolor=look.INK, linewidth=0.5, hatch=ink.hatch, alpha=0.75)
    _dots(axes, place, values)


def _bar(axes: Axes, place: float, values: np.ndarray, ink: Ink, width: float) -> None:
    if not len(values):
        return
    sd = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    axes.bar(place, values.mean(), width, color=ink.colour, hatch=ink.hatch, edgecolor="white", linewidth=0.4)
    if sd:
        axes.errorbar(place, values.mean(), yerr=sd, color=look.INK, elinewidth=look.BAR, capsize=1.5)
    _dots(axes, place, values)
    low = min(float(values.min()), float(values.mean()) - sd)
    room = axes.get_ylim()
    first = len(axes.patches) == 1
    high = max(float(values.max()), float(values.mean()) + sd)
    ends = low - 0.05 * abs(low), high + 0.02 * abs(high)
    axes.set_ylim(ends if first else (min(room[0], ends[0]), max(room[1], ends[1])))


def _dots(axes: Axes, place: float, values: np.ndarray) -> None:
    if 1 < len(values) <= _MOST_DOTS:
        axes.scatter([place] * len(values), values, s=3, color=look.INK, linewidth=0, zorder=3)


def _counts(rows: pd.DataFrame) -> str:
    return says_n(rows.groupby(["panel", "x", "hue"])["value"].count())


def _write(axes: Axes, table: pd.DataFrame, ends: tuple[float, float], digits: int) -> None:
    """The numbers, light on dark fields."""
    if max(table.shape) > 8 or table.shape[1] * (digits + 2) > 36:
        return
    middle = sum(ends) / 2
    for (y, x), value in np.ndenumerate(table.to_numpy(dtype=float)):
        if not np.isnan(value):
            colour = "white" if value < middle else look.INK
            axes.text(x, y, f"{value:.{digits}f}", ha="center", va="center", fontsize=look.SMALL, color=colour)


def _frame(axes: Axes, table: pd.DataFrame, mark: int) -> None:
    values = table.to_numpy(dtype=float)
    order = np.argsort(np.where(np.isnan(values), -np.inf, values), axis=None)[::-1][:mark]
    for place in order:
        y, x = np.unravel_index(place, values.shape)
        axes.add_patch(_outline(int(x), int(y)))


def _outline(x: int, y: int) -> Rectangle:
    return Rectangle((x - 0.46, y - 0.44), 0.92, 0.88, fill=False, edgecolor="#d55e00", linewidth=1.8)


def _ticks(values: pd.Index) -> list[str]:
    shown = values[:: -(-len(values) // 12)]
    return [value if isinstance(value, str) else f"{value:g}" for value in shown]
