"""BreastMNIST's file."""

from pathlib import Path

from fakes import write_npz


def write(root: Path) -> None:
    """In the folder `medmnist`."""
    write_npz(root / "medmnist" / "breastmnist.npz", classes=2, counts={"train": 20, "val": 6, "test": 8})
