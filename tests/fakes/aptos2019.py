"""APTOS 2019, with the test images of the competition, which have no grades."""

from pathlib import Path

from fakes import draw, write_text


def write(root: Path) -> None:
    """Three images a grade."""
    base = root / "APTOS2019"
    names = [f"{number:012x}" for number in range(15)]
    for seed, name in enumerate(names):
        draw(base / "train_images" / f"{name}.png", seed)
    draw(base / "test_images" / "0005cfc8afb6.png", 99)
    write_text(base / "train.csv", "id_code,diagnosis", *(f"{name},{seed % 5}" for seed, name in enumerate(names)))
    write_text(base / "test.csv", "id_code", "0005cfc8afb6")
