"""CheXpert: train.csv and valid.csv with blanks and uncertain entries, studies of one and two views."""

from pathlib import Path

from fakes import draw, write_text

OBSERVATIONS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
    "Support Devices",
)  # fmt: skip
HEADER = ",".join(("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *OBSERVATIONS))


def write(root: Path, patients: int = 16) -> None:
    """Training patients with one study each, and two of valid.csv.

    Of every 16 the first 14 have one certain observation, an uncertain and an absent one beside it, the next has an
    uncertain one alone, the last nothing.
    """
    base = root / "CheXpert-v1.0-small"
    rows = [HEADER]
    for number in range(patients):
        own = number % 16
        told = {own: "1.0", (own + 1) % 14: "-1.0", (own + 2) % 14: "0.0"} if own < 14 else {}
        told = {5: "-1.0"} if own == 14 else told
        for view in ("view1_frontal", "view2_lateral")[: 1 + number % 2]:
            path = f"train/patient{number + 1:05d}/study1/{view}.jpg"
            draw(base / path, 2 * number + int(view[4]), mode="L")
            kind = ("Frontal", "AP") if view == "view1_frontal" else ("Lateral", "")
            rows.append(_row(path, kind, [told.get(each, "") for each in range(14)]))
    write_text(base / "train.csv", *rows)
    rows = [HEADER]
    for number in range(2):
        path = f"valid/patient{64541 + number}/study1/view1_frontal.jpg"
        draw(base / path, 10000 + number, mode="L")
        rows.append(_row(path, ("Frontal", "PA"), ["1.0" if each % 2 == number else "0.0" for each in range(14)]))
    write_text(base / "valid.csv", *rows)


def _row(path: str, kind: tuple[str, str], told: list[str]) -> str:
    return ",".join((f"CheXpert-v1.0-small/{path}", "Female", "68", *kind, *told))
