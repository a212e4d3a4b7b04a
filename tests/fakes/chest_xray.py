"""The paediatric X-rays, with what comes along in the official archive: other folders and hidden files."""

from pathlib import Path

from fakes import draw


def write(root: Path) -> None:
    """Twelve normal and twelve pneumonia patients, the first of each with two images."""
    base = root / "chest_xray"
    seed = 0
    for part, patients in (("train", range(8)), ("val", range(8, 10)), ("test", range(10, 12))):
        for number in patients:
            series = "NORMAL2-IM" if number % 2 else "IM"
            names = [f"NORMAL/{series}-{number:04d}-0001.jpeg", f"PNEUMONIA/person{number}_virus_{number + 5}.jpeg"]
            if number == 0:
                names += ["NORMAL/IM-0000-0001-0002.jpeg", "PNEUMONIA/person0_bacteria_1.jpeg"]
            for name in names:
                draw(base / part / name, seed, mode="L")
                seed += 1
        (base / part / "NORMAL" / ".DS_Store").write_bytes(b"\0")
    (base / ".ipynb_checkpoints").mkdir()
