"""ISIC 2018 task 3, with the licence file of its archives and the table of lesions."""

from pathlib import Path

from fakes import draw, write_text

CLASSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


def write(root: Path) -> None:
    """Two images a class, both of one lesion."""
    base = root / "ISIC2018"
    names = [f"ISIC_{24306 + number:07d}" for number in range(2 * len(CLASSES))]
    for seed, name in enumerate(names):
        draw(base / "ISIC2018_Task3_Training_Input" / f"{name}.jpg", seed)
    write_text(base / "ISIC2018_Task3_Training_Input" / "ATTRIBUTION.txt", "cite")
    hot = [",".join("1.0" if each == number // 2 else "0.0" for each in range(7)) for number in range(len(names))]
    truth = base / "ISIC2018_Task3_Training_GroundTruth" / "ISIC2018_Task3_Training_GroundTruth.csv"
    write_text(truth, ",".join(("image", *CLASSES)), *(f"{a},{b}" for a, b in zip(names, hot, strict=True)))
    lesions = (f"{name},HAM_{number // 2:07d},histopathology" for number, name in enumerate(names))
    header = "image,lesion_id,diagnosis_confirm_type"
    write_text(base / "ISIC2018_Task3_Training_LesionGroupings.csv", header, *lesions)
