"""NIH ChestX-ray14: the official table, both lists, images in two of the twelve folders, one of them with alpha."""

from pathlib import Path

from fakes import draw, write_text

FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)


def write(root: Path, patients: int = 15) -> None:
    """Three images of each patient: with two findings, with one, and with none; the last fifth is tested."""
    base = root / "NIH_ChestXray14"
    rows, lists = [HEADER], {"train_val_list.txt": [], "test_list.txt": []}
    for number in range(3 * patients):
        patient, visit = number // 3 + 1, number % 3
        name = f"{patient:08d}_{visit:03d}.png"
        own, other = FINDINGS[number // 3 % 14], FINDINGS[(number // 3 + 3) % 14]
        told = ("|".join(sorted((own, other))), own, "No Finding")[visit]
        folder = "images_001" if patient < 8 else "images_002"
        draw(base / folder / "images" / name, number, mode="RGBA" if number == 4 else "L")
        rows.append(f"{name},{told},{visit},{patient},{50 + patient},F,PA,2500,2048,0.168,0.168")
        lists["test_list.txt" if patient > 0.8 * patients else "train_val_list.txt"].append(name)
    write_text(base / "Data_Entry_2017_v2020.csv", *rows)
    for name, images in lists.items():
        write_text(base / name, *images)
