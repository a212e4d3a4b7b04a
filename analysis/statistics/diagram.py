"""Draws a critical-difference diagram: mean ranks on a line, bars over settings that cannot be told apart.

What is significant is decided in `ranks`. Lines and places tell settings apart, no colour does.
"""

import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import look
from analysis.statistics.ranks import RankGroups

_ROW = 0.15
"""Inches between two names, or two bars."""
_NAME_WIDTH = 20
"""Characters that fit beside the axis, on either side."""
_LEFT, _RIGHT = 0.34, 0.66
"""Where the axis begins and ends, as shares of the figure's width."""


def draw_ranks(found: RankGroups) -> Figure:
    """The diagram of Demšar 2006, one column wide: the best setting at the left, the critical difference above."""
    half = (len(found.names) + 1) // 2
    names = [textwrap.wrap(name, _NAME_WIDTH) or [""] for name in found.names]
    lines = max(sum(map(len, names[:half])), sum(map(len, names[half:])))
    rows = 3.2 + len(found.groups) + 0.5 + lines  # from the top: distance, axis, bars, names
    figure = Figure(figsize=(look.PANEL_WIDTH, _ROW * rows + 0.1))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, 1), ylim=(rows, -0.6))
    axes.axis("off")
    scale = _Scale(len(found.names))
    _draw_axis(axes, scale, found)
    for number, group in enumerate(found.groups):
        ends = [found.ranks[found.names.index(name)] for name in (group[0], group[-1])]
        places = [scale.place(ends[0]) - 0.008, scale.place(ends[1]) + 0.008]
        axes.plot(
            places, [3.3 + number] * 2, color=look.INK, linewidth=3 * look.LINE, solid_capstyle="butt", gid="group"
        )
    below = 3.2 + len(found.groups)
    _draw_names(axes, scale, names[:half], found.ranks[:half], below, left=True)
    _draw_names(axes, scale, names[half:][::-1], found.ranks[half:][::-1], below, left=False)
    return figure


class _Scale:
    """Where ranks lie between the two columns of names."""

    def __init__(self, settings: int) -> None:
        self.last = settings

    def place(self, rank: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (rank - 1) / (self.last - 1)


def _draw_axis(axes: Axes, scale: _Scale, found: RankGroups) -> None:
    """The critical difference as a distance, and under it the line of ranks with its ticks."""
    axes.plot([_LEFT, _RIGHT], [2.6, 2.6], color=look.INK, linewidth=look.BAR)
    every = -(-scale.last // 8)
    for rank in range(1, scale.last + 1, every):
        axes.plot([scale.place(rank)] * 2, [2.6, 2.35], color=look.INK, linewidth=look.BAR)
        axes.text(scale.place(rank), 2.25, str(rank), ha="center", va="bottom", fontsize=look.SMALL, color=look.INK)
    end = min(scale.place(1 + found.critical_difference), 0.98)
    axes.plot([_LEFT, end], [0.9, 0.9], color=look.QUIET, linewidth=look.LINE)
    for place in (_LEFT, end):
        axes.plot([place] * 2, [0.7, 1.1], color=look.QUIET, linewidth=look.LINE)
    words = f"critical difference {found.critical_difference:.2f}, {found.targets} targets"
    axes.text(0.5, 0.5, words, ha="center", va="bottom", fontsize=look.SMALL, color=look.QUIET)


def _draw_names(
    axes: Axes, scale: _Scale, names: list[list[str]], ranks: tuple[float, ...], top: float, *, left: bool
) -> None:
    """The names of one side under one another, each joined to its rank."""
    row = top + 0.5
    edge, side = (_LEFT - 0.02, "right") if left else (_RIGHT + 0.02, "left")
    for words, rank in zip(names, ranks, strict=True):
        middle = row + len(words) / 2
        place = scale.place(rank)
        axes.plot([place, place, edge], [2.6, middle, middle], color=look.INK, linewidth=look.BAR)
        text = "\n".join(words)
        axes.text(
            edge + (-0.01 if left else 0.01), middle, text, ha=side, va="center", fontsize=look.SMALL, color=look.INK
        )
        row += len(words)
