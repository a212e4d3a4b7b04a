"""Medical MNIST."""

from pathlib import Path

from fakes import write_classes


def write(root: Path) -> None:
    """Six images a class."""
    classes = dict.fromkeys(("AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT"), 6)
    write_classes(root / "medical_mnist_64", classes, suffix=".jpeg", mode="L")
