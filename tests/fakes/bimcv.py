"""BIMCV as Peng et al. 2023 read it, with noisy and clean tables and two `exp` folders."""

from pathlib import Path

from fakes import draw, write_text


def write(root: Path) -> None:
    """Four subjects a part with two images each, and one image that names no subject."""
    base = root / "BIMCV"
    for part, first in (("train", 0), ("val", 4), ("test", 8)):
        rows = []
        for number in range(first, first + 4):
            for run in (1, 2):
                name = f"sub-S{number:05d}_ses-E{number:05d}_run-{run}_bp-chest_vp-ap_dx.png"
                draw(base / "crop" / name, 10 * number + run, mode="L")
                rows.append(f"{name},{number % 2}")
        draw(base / "crop" / f"{part}.png", 1000 + first, mode="L")
        for labels in ("noisy", "clean"):
            for exp in ("1", "2"):
                write_text(base / labels / exp / f"{part}.csv", "path,label", *rows, f"{part}.png,0")
