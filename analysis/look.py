"""How figures look: sizes, fonts, and the colours, markers and dashes that tell lines apart.

Constants only; `panels` draws with them. Colours are those of Okabe and Ito (2008), told apart by colour-blind people,
and each source has a marker of its own, so that a figure also works in grey.
"""

from typing import Literal

PANEL_WIDTH, PANEL_HEIGHT = 3.3, 2.3
"""Inches; a panel is as wide as a column of a journal page."""
DOTS_PER_INCH = 200
TEXT, SMALL = 8.0, 7.0
"""Points: titles, labels and legend; ticks."""

INK, QUIET, GRID = "#222222", "#666666", "#e3e3e3"
BASELINE = "random"
"""The source that others are compared with; it is grey."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""One more than colours: the pair repeats only after 42 sources."""
DASHES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
"""One for each style of line, the first drawn through."""
LINE, BAR, MARKER = 1.2, 0.8, 4.0
"""Points: width of lines and of sd bars, size of markers."""
SHADES = "cividis"
"""Of heat maps and of dots whose colour is a number: even in lightness, the same to colour-blind people."""
HATCHES = ("", "////", "....", "xxxx")
"""Tell fillings of one colour apart."""
PAGE = 2
"""Panels side by side, at most: a page is two columns wide."""
LEGEND_LINE = 0.17
"""Inches that a figure is higher for each line of its legend beyond the second."""
