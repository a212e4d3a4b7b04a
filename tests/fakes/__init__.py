"""Tiny image sets in the true on-disk form, written at test time: one module per data set, with `write(root)`.

Sets that read the same files share a module; a set without one needs no files.
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from sweeper.data.chexpert import CHEXPERT

SAME_FILES = {
    "bimcv_clean": "bimcv",
    "busi3": "busi",
    **{each.name: "chexpert" for each in CHEXPERT},
    "cbis_ddsm_mass": "cbis_ddsm",
    "cbis_ddsm_calc": "cbis_ddsm",
    "ddsm3": "ddsm",
    "ddti_graded": "ddti",
    "mrnet_abnormal": "mrnet",
    "mrnet_acl": "mrnet",
    "mrnet_meniscus": "mrnet",
    "pcam_small": "pcam",
    "pcam_middle": "pcam",
}
"""Sets that have no files of their own, and the module that writes them."""


def write_fake(name: str, root: Path) -> None:
    """Writes the data set's fake below `root`, the data folder."""
    member, _, size = name.partition("_")
    if member.endswith("mnist"):
        import_module("fakes.medmnist").write(root, member, int(size or 28))
    elif find_spec(f"fakes.{SAME_FILES.get(name, name)}"):
        import_module(f"fakes.{SAME_FILES.get(name, name)}").write(root)


def noise(seed: int, *shape: int) -> np.ndarray:
    """uint8 pixels that differ between any two seeds."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def draw(path: Path, seed: int, *, height: int = 12, width: int = 10, mode: str = "RGB") -> Path:
    """An image of noise, in the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = noise(seed, height, width, 3) if mode == "RGB" else noise(seed, height, width)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def write_classes(folder: Path, classes: dict[str, int], *, suffix: str = ".png", mode: str = "RGB") -> None:
    """A folder per class with this many images each."""
    for first, (name, images) in enumerate(classes.items()):
        for number in range(images):
            draw(folder / name / f"{number:03d}{suffix}", 1000 * first + number, mode=mode)


def write_text(path: Path, *lines: str) -> Path:
    """A text file of these lines, as a table or a list is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def write_npz(
    path: Path, *, classes: int, counts: dict[str, int], size: int = 28, colour: bool = False, several: bool = False
) -> None:
    """A file as MedMNIST lays it out; with `several`, image n is of the classes n and 2n, and the first of none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for seed, (part, images) in enumerate(counts.items()):
        arrays[f"{part}_images"] = noise(seed, images, size, size, *((3,) if colour else ()))
        arrays[f"{part}_labels"] = (np.arange(images) % classes).astype(np.uint8)[:, None]
        if several:
            own = np.arange(images)[:, None] % (classes + 1)
            at = np.arange(1, classes + 1)
            arrays[f"{part}_labels"] = ((own == at) | (2 * own == at)).astype(np.uint8)
    np.savez(path, **arrays)
