"""The legend of a figure: one over all its panels, as many columns as fit, with a note as its title.

The figure grows by the lines that the legend takes, so that panels keep their height.
"""

import textwrap
from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.figure import Figure

from analysis import look

_LETTER = 0.5
"""Width of a letter over its height, on average."""
_GAPS = 6
"""Letters that stand between the columns, the pictures of lines and patches left out."""


def legend(figure: Figure, handles: Sequence[Artist], note: str, *, picture: float = 1.6) -> None:
    """Draws it.

    Args:
        handles: what is named, by their labels.
        note: over the names; long ones are broken into lines.
        picture: width of a handle's picture in letters' heights; lines whose dashes are to be told need 3.
    """
    characters = int(figure.get_figwidth() * 72 / (look.TEXT * _LETTER))
    widest = max((len(str(handle.get_label())) for handle in handles), default=1)
    columns = max(1, min(int(characters / (widest + _GAPS + picture)), len(handles)))
    title = textwrap.fill(note, characters)
    lines = -(-len(handles) // columns) + title.count("\n") + 1
    figure.set_figheight(figure.get_figheight() + look.LEGEND_LINE * max(0, lines - 2))
    figure.legend(
        handles=list(handles),
        title=title,
        loc="outside upper center",
        ncols=columns,
        fontsize=look.TEXT,
        title_fontsize=look.TEXT,
        frameon=False,
        handlelength=picture,
    )
