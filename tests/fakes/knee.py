"""The slices of Juodelyte et al. 2023, beside MRNet's tables."""

from pathlib import Path

from fakes import draw, write_text
from fakes.mrnet import EXAMS


def write(root: Path) -> None:
    """Two slices of each exam for each structure."""
    base = root / "knee"
    seed = 0
    for exam in [each for part in EXAMS.values() for each in part]:
        for structure in ("acl", "meniscus"):
            for number in (7, 8):
                seed += 1
                draw(base / "images" / structure / f"{exam}_sagittal_{number}.png", seed, mode="L")
    for part, exams in EXAMS.items():
        for place, finding in enumerate(("abnormal", "acl", "meniscus")):
            write_text(base / f"{part}-{finding}.csv", *(f"{exam},{told[place]}" for exam, told in exams.items()))
