"""HAM10000, in two folders of images."""

from pathlib import Path

from fakes import draw, write_text

CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")


def write(root: Path) -> None:
    """Two images a class, both of one lesion, one in each folder."""
    base = root / "HAM10000"
    rows = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    for number in range(14):
        name = f"ISIC_{24306 + number:07d}"
        draw(base / f"HAM10000_images_part_{number % 2 + 1}" / f"{name}.jpg", number)
        rows.append(f"HAM_{number // 2:07d},{name},{CLASSES[number // 2]},histo,80.0,male,scalp")
    write_text(base / "HAM10000_metadata.csv", *rows)
