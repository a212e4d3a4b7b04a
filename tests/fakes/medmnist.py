"""The files of MedMNIST."""

from pathlib import Path

from fakes import write_npz

CLASSES = {
    "pathmnist": 9, "chestmnist": 14, "dermamnist": 7, "octmnist": 4, "pneumoniamnist": 2, "retinamnist": 5,
    "breastmnist": 2, "bloodmnist": 8, "tissuemnist": 8, "organamnist": 11, "organcmnist": 11, "organsmnist": 11,
}  # fmt: skip
COLOUR = ("pathmnist", "dermamnist", "retinamnist", "bloodmnist")


def write(root: Path, member: str, size: int) -> None:
    """In the folder `medmnist`, under the name that the official archive has for the size."""
    name = member if size == 28 else f"{member}_{size}"
    counts = {"train": 15, "val": 2, "test": 2}
    path, colour, several = root / "medmnist" / f"{name}.npz", member in COLOUR, member == "chestmnist"
    write_npz(path, classes=CLASSES[member], counts=counts, size=size, colour=colour, several=several)
