"""ISIC 2019, with the column UNK, down-sampled names and empty lesion ids."""

from pathlib import Path

from fakes import draw, write_text

CLASSES = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")


def write(root: Path) -> None:
    """Two images of each class but UNK; those of the first two classes are of known lesions."""
    base = root / "ISIC2019"
    truth, metadata = [",".join(("image", *CLASSES))], ["image,age_approx,anatom_site_general,lesion_id,sex"]
    for number in range(16):
        name = f"ISIC_{number:07d}" + ("_downsampled" if number % 3 == 0 else "")
        draw(base / "ISIC_2019_Training_Input" / f"{name}.jpg", number)
        truth.append(",".join((name, *("1.0" if each == number // 2 else "0.0" for each in range(9)))))
        metadata.append(f"{name},55.0,,{f'MSK4_{number // 2:07d}' if number < 4 else ''},female")
    write_text(base / "ISIC_2019_Training_GroundTruth.csv", *truth)
    write_text(base / "ISIC_2019_Training_Metadata.csv", *metadata)
