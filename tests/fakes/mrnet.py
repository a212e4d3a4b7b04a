"""MRNet: volumes of three planes and tables without header."""

from pathlib import Path

import numpy as np

from fakes import noise, write_text

EXAMS = {
    "train": {"0000": "000", "0001": "100", "0002": "110", "0003": "101", "0004": "111", "0005": "000"},
    "valid": {"1130": "000", "1131": "110", "1132": "101"},
}
"""Exam -> whether it is abnormal, its ligament torn, its meniscus torn."""


def write(root: Path) -> None:
    """Volumes of three to five slices."""
    base = root / "MRNet-v1.0"
    for part, exams in EXAMS.items():
        for plane in ("axial", "coronal", "sagittal"):
            (base / part / plane).mkdir(parents=True, exist_ok=True)
            for exam in exams:
                np.save(base / part / plane / f"{exam}.npy", noise(int(exam), 3 + int(exam) % 3, 12, 10))
        for place, finding in enumerate(("abnormal", "acl", "meniscus")):
            write_text(base / f"{part}-{finding}.csv", *(f"{exam},{told[place]}" for exam, told in exams.items()))
