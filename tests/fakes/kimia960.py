"""KIMIA Path960."""

from pathlib import Path

from fakes import draw


def write(root: Path) -> None:
    """Two patches a class, one with a number of two digits."""
    for first, letter in enumerate("ABCDEFGHIJKLMNOPQRST"):
        for number in (1, 22):
            draw(root / "kimia_path_960" / f"{letter}{number}.tif", 100 * first + number)
