"""DDSM's pictures and the lists of Matsoukas et al. 2022."""

from pathlib import Path

from fakes import draw, write_text


def write(root: Path) -> None:
    """In each part two cases a class, two views of each."""
    base = root / "DDSM"
    number = 0
    for part in ("train", "val", "test"):
        lines = []
        for kind in ("normal", "benign", "cancer"):
            for _ in range(2):
                number += 1
                for view in ("LEFT_CC", "RIGHT_MLO"):
                    name = f"{kind}_{number:02d}-B_{3000 + number}_1.{view}.LJPEG.1.jpg"
                    draw(base / "ddsm_raw" / name, 10 * number + len(view), mode="L")
                    lines.append(name)
        write_text(base / "ddsm_raw_image_lists" / f"{part}.txt", *lines)
