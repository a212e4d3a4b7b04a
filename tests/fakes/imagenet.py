"""ImageNet in torchvision's form."""

from pathlib import Path

from fakes import draw


def write(root: Path) -> None:
    """Four training and two validation images of three synsets."""
    for first, synset in enumerate(("n01440764", "n01443537", "n02099601")):
        for number in range(4):
            draw(root / "imagenet" / "train" / synset / f"{synset}_{number}.JPEG", 100 * first + number)
        for number in range(2):
            name = f"ILSVRC2012_val_{10 * first + number:08d}.JPEG"
            draw(root / "imagenet" / "val" / synset / name, 100 * first + 50 + number)
