"""The flower photographs, with the text file beside the class folders."""

from pathlib import Path

from fakes import write_classes


def write(root: Path) -> None:
    """Six images a class."""
    classes = dict.fromkeys(("daisy", "dandelion", "roses", "sunflowers", "tulips"), 6)
    write_classes(root / "flower_photos", classes, suffix=".jpg")
    (root / "flower_photos" / "LICENSE.txt").write_text("CC BY 2.0")
