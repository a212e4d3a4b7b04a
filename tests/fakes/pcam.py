"""PatchCamelyon's nine files; patches are smaller and fewer than the true ones, but enough to draw both subsets."""

from pathlib import Path

import h5py
import numpy as np

from fakes import noise, write_text

ROWS = {"train": 90_000, "valid": 6_000, "test": 6_000}
SIDE = 2


def write(root: Path, rows: dict[str, int] = ROWS, side: int = SIDE) -> None:
    """Slides of a thousand patches, each in one part."""
    base = root / "pcam"
    base.mkdir(parents=True, exist_ok=True)
    for seed, (part, number) in enumerate(rows.items()):
        stem = f"camelyonpatch_level_2_split_{part}"
        with h5py.File(base / f"{stem}_x.h5", "w") as file:
            file.create_dataset("x", data=noise(seed, number, side, side, 3), chunks=(min(number, 500), side, side, 3))
        with h5py.File(base / f"{stem}_y.h5", "w") as file:
            file.create_dataset("y", data=(np.arange(number) % 2).astype(np.uint8).reshape(-1, 1, 1, 1))
        lines = (f"{row},1,2,{bool(row % 2)},{bool(row % 2)},{part}_{row // 1000:03d}" for row in range(number))
        write_text(base / f"{stem}_meta.csv", ",coord_y,coord_x,tumor_patch,center_tumor_patch,wsi", *lines)
