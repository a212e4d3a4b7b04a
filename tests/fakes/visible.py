"""`chestmnist.npz` whose labels can be seen: a network that learns anything learns these."""

from pathlib import Path

import numpy as np

CLASSES = 14
_PATCH = 7


def write(root: Path) -> None:
    """28 x 28 pixels of noise, in which each label is a bright patch at a place of its own among sixteen."""
    root.mkdir(parents=True, exist_ok=True)
    arrays, draw = {}, np.random.default_rng(0)
    for part, images in {"train": 300, "val": 60, "test": 80}.items():
        labels = (draw.random((images, CLASSES)) < 0.3).astype(np.uint8)
        labels[:2] = [[1], [0]]
        patches = np.zeros((images, 16))
        patches[:, :CLASSES] = 120 * labels
        bright = patches.reshape(images, 4, 4).repeat(_PATCH, axis=1).repeat(_PATCH, axis=2)
        arrays[f"{part}_images"] = (bright + draw.integers(0, 100, bright.shape)).astype(np.uint8)
        arrays[f"{part}_labels"] = labels
    np.savez(root / "chestmnist.npz", **arrays)
