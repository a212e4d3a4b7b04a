"""ImageNet (ILSVRC 2012) as one folder per synset below `train` and `val`, the form that torchvision makes of it.

The official validation part is the test part here, as papers report on it, and the validation part is cut from the
training part; the labels of the official test part are not handed out. Classes are the synsets, sorted as usual.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.data.folder import read_folder
from sweeper.data.listed import listed_images

if TYPE_CHECKING:
    import pandas as pd


def _read(base: Path) -> "pd.DataFrame":
    index = read_folder(base, name="imagenet")
    if set(index["part"].dropna()) != {"train", "val"}:
        raise ValueError(f"data set 'imagenet': {base} holds other folders than train and val; it needs these two")
    return index.assign(part=index["part"].replace("val", "test"))


IMAGENET = listed_images(
    name="imagenet",
    folders=("imagenet", "ImageNet", "ILSVRC2012"),
    read=_read,
    classes=None,
    metric="accuracy",
    channels=3,
    cite="Russakovsky et al. 2015, IJCV 115:211-252",
    licence="for non-commercial research and education, by the terms of image-net.org",
    remedy="put the folders train and val of ILSVRC 2012 there, with a folder per synset in each",
    patients="each image is its own patient: these are photographs",
    url="https://www.image-net.org/challenges/LSVRC/2012/",
)
