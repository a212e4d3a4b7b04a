"""BUSI: three folders, names with spaces and brackets, a mask or two beside each image."""

from pathlib import Path

from fakes import draw


def write(root: Path) -> None:
    """Six images a folder."""
    for first, name in enumerate(("benign", "malignant", "normal")):
        for number in range(1, 7):
            stem = root / "Dataset_BUSI_with_GT" / name / f"{name} ({number})"
            draw(stem.with_name(f"{stem.name}.png"), 100 * first + number)
            draw(stem.with_name(f"{stem.name}_mask.png"), 0, mode="1")
            if number == 1:
                draw(stem.with_name(f"{stem.name}_mask_1.png"), 0, mode="1")
