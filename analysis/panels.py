"""Draws a chart: a grid of panels, one line per source and style, means with sd bars, one legend for all.

It knows nothing of cells, probes or MLflow, and leaves matplotlib's global state alone (no pyplot, no rcParams).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator
from matplotlib.typing import LineStyleType

from analysis import look
from analysis.legends import legend

_MOST_TICKS = 10
_LONGEST_TICK = 7  # characters
_WIDE, _NEAR = 1.5, 0.1  # decades: of an axis whose ticks are powers of ten; that a tick may lie beyond the last value
_MOST_DECADES = 5
_CLOSEST = 0.06  # share of an axis that two ticks are apart at least
_MARGIN = 0.04  # share of an axis that stays free at either end
_DASHED = 3.0  # width of a line in the legend, in letters' heights, so that its dashes are told
_DODGED = 0.3  # share of the gap between two x values over which the lines are spread


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What is to be drawn."""

    data: pd.DataFrame
    """The numbers behind the figure, for people."""
    points: pd.DataFrame
    """A row per point: `row`, `column` (labels of its panel), `title`, `y_label`, `source`, `style`, `x`, `mean`, `sd`
    and `n`; in the order in which panels, sources and styles come. A `mean` that is NaN is a cross at the panel's foot,
    and a point for which there is `marked` and it is True has a ring."""
    x_label: str
    log_rows: frozenset[str] = frozenset()
    """Panel rows with a logarithmic y axis."""
    note: str | None = None
    """Title of the legend; None says how many cells a point is of."""


@dataclass(frozen=True, kw_only=True)
class _Look:
    """What a line looks like, and how far it is moved sideways so that sd bars do not hide one another."""

    colour: str
    marker: str
    dashes: LineStyleType
    hollow: bool
    shift: float


def save(chart: Chart, stem: Path) -> tuple[Path, Path, Path]:
    """The files `stem.png`, `stem.pdf` and `stem.csv`, equal for equal charts."""
    figure = draw(chart)
    paths = stem.with_suffix(".png"), stem.with_suffix(".pdf"), stem.with_suffix(".csv")
    figure.savefig(paths[0], dpi=look.DOTS_PER_INCH)
    figure.savefig(paths[1], metadata={"CreationDate": None})
    chart.data.to_csv(paths[2], index=False)
    return paths


def draw(chart: Chart) -> Figure:
    """The chart as a matplotlib figure."""
    points = chart.points
    rows, columns = list(points["row"].unique()), list(points["column"].unique())
    size = look.PANEL_WIDTH * len(columns), look.PANEL_HEIGHT * len(rows) + 0.5
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(rows), len(columns), sharey="row", squeeze=False)
    looks = _looks(points)
    for row, line_of_axes in zip(rows, grid, strict=True):
        for column, axes in zip(columns, line_of_axes, strict=True):
            panel = points[(points["row"] == row) & (points["column"] == column)]
            axes.set_visible(not panel.empty)
            if not panel.empty:
                _draw_panel(axes, panel, looks, _Scale(points[points["column"] == column]["x"]))
                _label(axes, panel, chart, log=row in chart.log_rows)
    _legend(figure, points, looks, chart.note)
    return figure


class _Scale:
    """Where x values lie: names side by side, rates and shares that span a factor of 5 on a log scale."""

    def __init__(self, values: pd.Series) -> None:
        self.values = list(values.unique()) if values.dtype == "str" else sorted(values.unique())
        self._named = values.dtype == "str"
        self._log = values.dtype == "float64" and min(self.values) > 0 and max(self.values) >= 5 * min(self.values)
        self.places = self.place(self.values)  # (distinct values,)
        span = self.places[-1] - self.places[0]
        self.gap = min(float(np.diff(self.places).min()), span / 3) if len(self.places) > 1 else 1.0

    def ticks(self) -> tuple[Sequence[float], list[str]]:
        """Places and labels of ticks: of values, or of round numbers where values on a log scale have many digits."""
        every = -(-len(self.values) // _MOST_TICKS)
        labels = [_as_tick(value) for value in self.values[::every]]
        if not self._log or max(map(len, labels)) <= _LONGEST_TICK:
            return self._apart(self.places[::every].tolist(), labels)
        ends = self.places[0], self.places[-1]
        span = ends[1] - ends[0]
        leading = (1,) if span > _WIDE else (1, 2, 5)
        decades = range(math.floor(ends[0]), math.ceil(ends[1]) + 1, math.ceil(span / _MOST_DECADES))
        places = [power + math.log10(digit) for power in decades for digit in leading]
        inside = [place for place in places if ends[0] - _NEAR <= place <= ends[1] + _NEAR]
        return inside, [_as_tick(round(10**place, 12)) for place in inside]

    def _apart(self, places: list[float], labels: list[str]) -> tuple[list[float], list[str]]:
        """The ticks without those whose labels would touch the one before."""
        kept: list[int] = []
        for number, place in enumerate(places):
            if not kept or place - places[kept[-1]] >= _CLOSEST * (self.places[-1] - self.places[0]):
                kept.append(number)
        return [places[number] for number in kept], [labels[number] for number in kept]

    def place(self, values: Sequence) -> np.ndarray:
        if self._named:
            return np.array([self.values.index(value) for value in values], dtype=float)
        numbers = np.asarray(values, dtype=float)
        return np.log10(numbers) if self._log else numbers


def _draw_panel(axes: Axes, panel: pd.DataFrame, looks: Mapping[tuple[str, str], _Look], scale: _Scale) -> None:
    for (source, style), line in panel.groupby(["source", "style"], sort=False):
        look_of = looks[str(source), str(style)]
        line = line.iloc[np.argsort(scale.place(list(line["x"])), kind="stable")]
        axes.errorbar(
            scale.place(list(line["x"])) + look_of.shift * scale.gap,
            line["mean"],
            yerr=line["sd"],
            color=look_of.colour,
            linestyle=look_of.dashes,
            linewidth=look.LINE,
            elinewidth=look.BAR,
            capsize=1.5,
            marker=look_of.marker,
            markersize=look.MARKER,
            markerfacecolor="white" if look_of.hollow else look_of.colour,
        )
        _draw_marks(axes, line, scale.place(list(line["x"])) + look_of.shift * scale.gap, look_of)
    axes.set_xticks(*scale.ticks())
    margin = max(0.4 * scale.gap, _MARGIN * (scale.places[-1] - scale.places[0]))
    axes.set_xlim(scale.places[0] - margin, scale.places[-1] + margin)
    axes.xaxis.set_minor_locator(NullLocator())


def _draw_marks(axes: Axes, line: pd.DataFrame, places: np.ndarray, look_of: _Look) -> None:
    """Crosses for values that are missing, and rings."""
    missing = line["mean"].isna().to_numpy()
    if missing.any():
        feet = {"y": np.full(missing.sum(), 0.03), "transform": axes.get_xaxis_transform()}  # y from 0 to 1
        axes.scatter(places[missing], marker="x", s=look.MARKER**2, linewidth=look.BAR, color=look_of.colour, **feet)
    ringed = line["marked"].to_numpy() & ~missing if "marked" in line else np.zeros_like(missing)
    if ringed.any():
        ring = {"marker": "o", "ms": 2.5 * look.MARKER, "mfc": "none", "mec": look.INK, "ls": "none", "clip_on": False}
        axes.plot(places[ringed], line["mean"].to_numpy()[ringed], **ring)


def _label(axes: Axes, panel: pd.DataFrame, chart: Chart, *, log: bool) -> None:
    axes.set_title(panel["title"].iloc[0], fontsize=look.TEXT, color=look.INK, loc="left")
    axes.set_xlabel(chart.x_label, fontsize=look.TEXT, color=look.INK)
    axes.set_ylabel(panel["y_label"].iloc[0], fontsize=look.TEXT, color=look.INK)
    axes.tick_params(which="both", labelsize=look.SMALL, labelleft=True, colors=look.QUIET, length=2)
    axes.yaxis.get_offset_text().set(fontsize=look.SMALL, color=look.QUIET)  # of millions, as `1e7`
    axes.grid(axis="y", color=look.GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(look.QUIET)
    if log:
        axes.set_yscale("log")


def _looks(points: pd.DataFrame) -> dict[tuple[str, str], _Look]:
    """(source, style) -> look; colour and marker say the source, dashes and filling the style."""
    sources, styles = _coloured(points), _styles(points)
    lines = [(source, style) for source in sources for style in styles]
    step = _DODGED / max(len(lines), 3)
    return {
        (source, style): _Look(
            colour=sources[source][0],
            marker=sources[source][1],
            dashes=look.DASHES[styles.index(style)],
            hollow=styles.index(style) % 2 == 1,
            shift=(number - (len(lines) - 1) / 2) * step,
        )
        for number, (source, style) in enumerate(lines)
    }


def _coloured(points: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Source -> colour and marker, the baseline last."""
    names = [name for name in points["source"].unique() if name != look.BASELINE]
    found = {
        name: (look.COLOURS[number % len(look.COLOURS)], look.MARKERS[(number + 1) % len(look.MARKERS)])
        for number, name in enumerate(names)
    }
    baseline = {look.BASELINE: (look.QUIET, look.MARKERS[0])}
    return found | baseline if len(names) < points["source"].nunique() else found


def _styles(points: pd.DataFrame) -> list[str]:
    return list(points["style"].unique())


def _legend(figure: Figure, points: pd.DataFrame, looks: Mapping[tuple[str, str], _Look], note: str | None) -> None:
    styles = _styles(points)
    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=look.MARKER, linewidth=look.LINE, label=source)
        for source, (colour, marker) in _coloured(points).items()
    ]
    if len(styles) > 1:
        handles += [_style_handle(style, looks) for style in styles]
    legend(figure, handles, note or _says_n(points), picture=_DASHED)


def _says_n(points: pd.DataFrame) -> str:
    least, most = points["n"].min(), points["n"].max()
    if most == 1:
        return "one cell a point"
    return f"mean ± sd, n = {least}" if least == most else f"mean ± sd, n = {least} to {most}"


def _style_handle(style: str, looks: Mapping[tuple[str, str], _Look]) -> Line2D:
    look_of = next(each for (_, name), each in looks.items() if name == style)
    filling = "white" if look_of.hollow else look.INK
    return Line2D(
        [],
        [],
        color=look.INK,
        linestyle=look_of.dashes,
        linewidth=look.LINE,
        marker=".",
        markersize=2 * look.MARKER,
        markerfacecolor=filling,
        label=style,
    )


def _as_tick(value: object) -> str:
    return value if isinstance(value, str) else f"{value:g}"
