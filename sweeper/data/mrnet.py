"""MRNet: sagittal slices of knee MRI, labelled by what was found in the exam.

`mrnet_abnormal`, `mrnet_acl` and `mrnet_meniscus` are the three official questions. `mrnet` has Juodelyte et al.'s
three classes: an exam with a torn anterior cruciate ligament is `acl`, another with a torn meniscus `meniscus`, any
other `normal`; an exam with both tears is `acl`. Juodelyte et al. 2023 label the meniscus of the official validation
exams by their `abnormal` table; here it is the meniscus table. The label is the exam's, so most slices of a torn knee
show no tear: `knee` has the slices that were selected for Juodelyte et al. 2023. The axial and the coronal series are
not read.

The official validation part is the test part here, because the hidden test exams are not handed out.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.data.dataset import Dataset, file_stamp, make_index
from sweeper.data.listed import first_there, needed, place_of
from sweeper.data.tables import labels_of, read_table, refuse_missing, refuse_repeated

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_PARTS = {"train": "train", "valid": "test"}
"""The folders, and the parts' names here."""
_PLANE = "sagittal"
_FOLDERS = ("MRNet-v1.0", "MRNet", "mrnet")
_REMEDY = "unpack MRNet-v1.0.zip of stanfordmlgroup.github.io/competitions/mrnet there"


def _mrnet(name: str, classes: Mapping[str, str]) -> Dataset:
    """Args: classes: the class of exams without finding (under ""), and of exams with one, the first that applies."""
    place = partial(place_of, name, _FOLDERS, _REMEDY)
    return Dataset(
        name=name,
        classes=tuple(classes.values()),
        metric="auroc" if len(classes) == 2 else "auroc_weighted",
        channels=1,
        cite="Bien et al. 2018, PLoS Medicine 15:e1002699",
        licence="Stanford University dataset research use agreement",
        remedy=_REMEDY,
        index=partial(_index, place, classes),
        decode=partial(_decode, place),
        sources=partial(_sources, place),
        patients="the exam, the number of its file; which exams are one person's is not told",
        url="https://stanfordmlgroup.github.io/competitions/mrnet/",
    )


def _index(place: Any, classes: Mapping[str, str], root: Path) -> "pd.DataFrame":
    base = place(root)
    rows = []
    for folder, part in _PARTS.items():
        for exam, label in _labels(base, folder, classes).items():
            slices = range(len(_volume(base / folder / _PLANE / f"{exam}.npy")))
            rows += [(f"{exam}/{number:03d}", label, exam, part) for number in slices]
    return make_index(rows)


def _labels(base: Path, folder: str, classes: Mapping[str, str]) -> dict[str, str]:
    """Exam -> class, for exactly the exams whose volume lies there."""
    found = {finding: _exams(base, folder, finding) for finding in classes if finding}
    first, *others = found.values()
    for other in others:
        if differing := sorted(set(first) ^ set(other)):
            raise ValueError(
                f"{base}: {len(differing)} exams are not in each {folder} table of {', '.join(found)} "
                f"(first: {differing[0]})"
            )
    series = base / folder / _PLANE
    refuse_missing((series / f"{exam}.npy" for exam in first), f"{base / folder}-*.csv")
    if unlabelled := sorted({each.stem for each in series.glob("[!.]*.npy")} - set(first)):
        raise ValueError(f"{series}: {len(unlabelled)} exams have no label (first: {unlabelled[0]}.npy)")
    return {
        exam: next((classes[finding] for finding in found if found[finding][exam] == "1"), classes[""])
        for exam in first
    }


def _exams(base: Path, folder: str, finding: str) -> dict[str, str]:
    """Exam -> "1" where it has the finding, else "0"."""
    path = needed([base / f"{folder}-{finding}.csv"], _REMEDY)
    table = read_table(path, ["exam", "finding"], header=False)
    refuse_repeated(table["exam"], path)
    return dict(zip(table["exam"], labels_of(table["finding"], {"0": "0", "1": "1"}, path), strict=True))


def _decode(place: Any, root: Path, image: str) -> "np.ndarray":
    import numpy as np

    from sweeper.data.stretch import to_eight_bits

    exam, number = image.split("/")
    pixels = np.asarray(_volume(_file(place(root), exam))[int(number)])  # (height, width)
    return (pixels if pixels.dtype == np.uint8 else to_eight_bits(pixels))[:, :, None]


def _sources(place: Any, root: Path, images: Sequence[str]) -> list[str]:
    base = place(root)
    return [file_stamp(_file(base, exam)) for exam in sorted({image.split("/")[0] for image in images})]


def _file(base: Path, exam: str) -> Path:
    return first_there([base / folder / _PLANE / f"{exam}.npy" for folder in _PARTS])


def _volume(path: Path) -> "np.ndarray":
    """(slices, height, width); only the slices that are asked for are read."""
    import numpy as np

    try:
        volume = np.lib.format.open_memmap(path, mode="r")
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"volume {path} cannot be read: {error}; fetch the archive again") from error
    if volume.ndim != 3:
        raise ValueError(f"volume {path} has the shape {volume.shape}; it must be (slices, height, width)")
    return volume


MRNET = _mrnet("mrnet", {"": "normal", "acl": "acl", "meniscus": "meniscus"})
MRNET_ABNORMAL = _mrnet("mrnet_abnormal", {"": "normal", "abnormal": "abnormal"})
MRNET_ACL = _mrnet("mrnet_acl", {"": "intact", "acl": "torn"})
MRNET_MENISCUS = _mrnet("mrnet_meniscus", {"": "intact", "meniscus": "torn"})
