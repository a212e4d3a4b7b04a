"""Scatters with regression lines, dots of four dimensions, curves and first-layer filters, from rows.

What the rows mean is the studies' business; lines are least squares, r is Pearson's.
"""

import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator
from scipy.stats import pearsonr

from analysis import look
from analysis.legends import legend
from analysis.sheets import dots, dress, inks, sheet

_NARROW = 24  # characters over a panel of half a column
SMALLEST, LARGEST = 12.0, 120.0
"""Area of the smallest and the largest dot, in square points."""


def correlations(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per panel: `panel`, Pearson's `r`, slope and intercept of the least-squares line, and `n` pairs.

    Pairs with a missing value are left out; r is NaN of fewer than three pairs, or where one of the two is constant.

    Args:
        rows: `panel`, `x`, `value`.
    """
    found = []
    for panel, group in rows.groupby("panel", sort=False):
        pairs = group[["x", "value"]].dropna().to_numpy(dtype=np.float64)
        lines = len(pairs) > 2 and bool((np.ptp(pairs, axis=0) > 0).all())
        r = float(pearsonr(pairs[:, 0], pairs[:, 1]).statistic) if lines else np.nan  # type: ignore[attr-defined]
        line = np.polyfit(pairs[:, 0], pairs[:, 1], 1) if lines else np.full(2, np.nan)
        found.append({"panel": panel, "r": r, "slope": line[0], "intercept": line[1], "n": len(pairs)})
    return pd.DataFrame(found)


def regressions(rows: pd.DataFrame, *, x_label: str, y_label: str, across: int, note: str) -> Figure:
    """A scatter per panel, coloured by `hue`, with its line, r and number of pairs.

    Args:
        rows: `panel`, `hue`, `x`, `value`.
        across: panels in a row.
    """
    lines = correlations(rows).set_index("panel")
    hues = list(rows["hue"].unique())
    known = inks(hues)
    figure, grid = sheet(len(lines), across=across, width=2 * look.PANEL_WIDTH / across, height=1.7)
    low, high = rows["value"].min(), rows["value"].max()
    room = 0.06 * (high - low) or 0.1
    for number, (name, axes) in enumerate(zip(lines.index, grid, strict=True)):
        panel = rows[rows["panel"] == name]
        for hue, group in panel.groupby("hue", sort=False):
            ink = known[str(hue)]
            axes.scatter(group["x"], group["value"], s=9, color=ink.colour, marker=ink.marker, linewidth=0)
        line = lines.loc[name]
        if not np.isnan(line["r"]):
            ends = np.array([panel["x"].min(), panel["x"].max()])
            axes.plot(ends, line["intercept"] + line["slope"] * ends, color=look.INK, linewidth=look.LINE)
        first = number % across == 0
        r = "too few for r" if np.isnan(line["r"]) else f"r = {line['r']:.2f}"
        dress(axes, y_label=y_label if first else "")
        axes.set_title(f"{name}\n{r}, n = {line['n']:.0f}", fontsize=look.SMALL, loc="left")
        axes.set_ylim(low - room, high + room)
    figure.supxlabel(x_label, fontsize=look.TEXT, color=look.INK)
    legend(figure, dots(known, hues), note)
    return figure


def sized_dots(rows: pd.DataFrame, *, x_label: str, y_label: str, size: str, colour: str, log_x: bool) -> Figure:
    """A dot per row of four numbers, named beside it: `x`, `value` (up), `size` and `shade`, a panel per `panel`.

    Args:
        rows: `panel`, `name`, `x`, `value`, `size`, `shade`.
        size: what sizes say.
        colour: what colours say.
    """
    names = list(rows["panel"].unique())
    figure, grid = sheet(len(names))
    ends = rows["size"].min(), rows["size"].max()
    shades = float(rows["shade"].min()), float(rows["shade"].max())
    drawn = None
    for name, axes in zip(names, grid, strict=True):
        panel = rows[rows["panel"] == name]
        areas = _areas(panel["size"].to_numpy(dtype=float), ends)
        kept = {"cmap": look.SHADES, "vmin": shades[0], "vmax": shades[1], "edgecolor": look.INK, "linewidth": 0.5}
        drawn = axes.scatter(panel["x"], panel["value"], s=areas, c=panel["shade"], **kept)
        for row in panel.itertuples():
            at = (0, -(np.sqrt(LARGEST) / 2 + 2))
            axes.annotate(
                str(row.name), (row.x, row.value), at, textcoords="offset points",
                fontsize=look.SMALL, ha="center", va="top", color=look.INK,
            )  # fmt: skip
        if log_x:
            axes.set_xscale("log")
            places = sorted(rows["x"].unique())
            axes.set_xticks(places, [f"{place / 1000:.3g}k" for place in places], minor=False)
            axes.xaxis.set_minor_locator(NullLocator())
        axes.margins(0.28, 0.3)
        dress(axes, title=str(name), x_label=x_label, y_label=y_label)
    if drawn is not None:
        bar = figure.colorbar(drawn, ax=grid, fraction=0.04)
        bar.ax.tick_params(labelsize=look.SMALL, colors=look.QUIET)
        bar.set_label(colour, fontsize=look.SMALL, color=look.INK)
    shown = sorted({float(ends[0]), float(ends[1])})
    handles = [
        Line2D([], [], ls="none", marker="o", color=look.QUIET, label=f"{value:.2f}",
               markersize=float(np.sqrt(_areas(np.array([value]), ends)[0])))
        for value in shown
    ]  # fmt: skip
    legend(figure, handles, f"size: {size}")
    return figure


def _areas(values: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    span = ends[1] - ends[0]
    return SMALLEST + (LARGEST - SMALLEST) * ((values - ends[0]) / span if span else np.full(len(values), 0.5))


def curves(rows: pd.DataFrame, *, labels: Mapping[str, tuple[str, str]], note: str) -> Figure:
    """A line per `hue` through its `x` and `value` in the order of the rows, steps as they are.

    Args:
        rows: `panel`, `hue`, `x`, `value`.
        labels: panel -> labels of x and y.
    """
    names, hues = list(rows["panel"].unique()), list(rows["hue"].unique())
    known = inks(hues)
    figure, grid = sheet(len(names))
    for name, axes in zip(names, grid, strict=True):
        for number, hue in enumerate(hues):
            line = rows[(rows["panel"] == name) & (rows["hue"] == hue)]
            dashes = look.DASHES[number % len(look.DASHES)]
            axes.plot(line["x"], line["value"], color=known[hue].colour, linestyle=dashes, linewidth=look.LINE)
        x_label, y_label = labels[str(name)]
        dress(axes, title=str(name), x_label=x_label, y_label=y_label)
    handles = [
        Line2D([], [], color=known[hue].colour, linestyle=look.DASHES[n % len(look.DASHES)], label=hue)
        for n, hue in enumerate(hues)
    ]
    legend(figure, handles, note)
    return figure


def filter_grids(grids: Mapping[str, np.ndarray], *, note: str) -> Figure:
    """A grey picture per grid of filters, from 0 (black) to 1 (white).

    Args:
        grids: title -> (height, width), as of `sweeper.filters.tiled`.
    """
    figure, places = sheet(len(grids), across=4, width=look.PANEL_WIDTH / 2, height=look.PANEL_WIDTH * 0.62)
    for (title, picture), axes in zip(grids.items(), places, strict=True):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        dress(axes, grid=False)
        axes.set_title(textwrap.fill(title, _NARROW), fontsize=look.SMALL, color=look.INK, loc="left")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[["left", "bottom"]].set_visible(False)
    legend(figure, [], note)
    return figure


def point_boxes(rows: pd.DataFrame, value: str, chance: str | None, score: str) -> Figure:
    """Boxes of a similarity by truncation point, grey ones of what chance reads, and the score on a second axis.

    Args:
        rows: `panel`, `point`, `key`, `score`, and the columns that are named; a row per cell and block.
        value: the similarity's column.
        chance: the column of the same of Gaussian features; None where it was not probed.
        score: its name, for the second axis.
    """
    names = list(rows["panel"].unique())
    figure, grid = sheet(len(names), width=look.PANEL_WIDTH * (2 if rows["point"].nunique() > 9 else 1), across=2)
    shown = {value: (look.COLOURS[0], -0.18), **({chance: (look.QUIET, 0.18)} if chance else {})}
    for name, axes in zip(names, grid, strict=True):
        panel = rows[rows["panel"] == name]
        points = sorted(panel["point"].unique())
        for column, (colour, shift) in shown.items():
            values = [panel.loc[panel["point"] == point, column].dropna().to_numpy() for point in points]
            drawn = axes.boxplot(
                values, positions=[place + shift for place in range(len(points))], widths=0.3, patch_artist=True,
                manage_ticks=False, flierprops={"markersize": 2}, medianprops={"color": look.INK},
            )  # fmt: skip
            for box in drawn["boxes"]:
                box.set(facecolor=colour, alpha=0.75, linewidth=0.5)
        cells = panel.drop_duplicates("key").groupby("point")["score"].agg(["mean", "std"]).loc[points]
        second = axes.twinx()
        orange = look.COLOURS[1]
        second.errorbar(
            range(len(points)), cells["mean"], yerr=cells["std"], color=orange, marker="o",
            markersize=look.MARKER, linewidth=look.LINE, elinewidth=look.BAR, capsize=1.5,
        )  # fmt: skip
        second.set_ylabel(f"test {score}", fontsize=look.TEXT, color=orange)
        second.tick_params(labelsize=look.SMALL, colors=orange, length=2)
        second.spines[["top"]].set_visible(False)
        dress(axes, title=str(name), x_label="blocks or layers kept", y_label=value.upper())
        axes.set_xticks(range(len(points)), [str(point) for point in points])
    colours = {value.upper(): look.COLOURS[0], **({"Gaussian features": look.QUIET} if chance else {})}
    handles: list[Artist] = [Patch(facecolor=colour, label=label) for label, colour in colours.items()]
    handles.append(Line2D([], [], color=look.COLOURS[1], marker="o", markersize=look.MARKER, label=f"test {score}"))
    legend(figure, handles, "of each block before and after training; boxes over blocks and cells")
    return figure
