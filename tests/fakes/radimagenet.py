"""RadImageNet: three tables, ultrasound one folder less deep than the others."""

from pathlib import Path

from fakes import draw, write_text

FOLDERS = ("CT/lung/nodule", "MR/knee/acl", "MR/knee/normal", "US/aorta")


def write(root: Path) -> None:
    """Three images a class, one in each part."""
    base = root / "RadImageNet"
    tables: dict[str, list[str]] = {part: ["filename,label"] for part in ("train", "val", "test")}
    for first, folder in enumerate(FOLDERS):
        for number, rows in enumerate(tables.values()):
            name = f"radiology_ai/{folder}/{folder[:2].lower()}{number:06d}.png"
            draw(base / name, 10 * first + number, mode="L")
            rows.append(f"{name},{folder.rpartition('/')[2]}")
    for part, rows in tables.items():
        write_text(base / f"RadiologyAI_{part}.csv", *rows)
