"""What the system knows of an image set: a value of facts and three functions that read it.

There is no base class and no download: a file per set makes one `Dataset`, and what several share is in the readers
beside this file. pandas is imported inside the functions, so that the table of sets loads at once.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sweeper.data.labels import known_of
from sweeper.metric import Task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Metric = Literal[
    "auroc",
    "auprc",
    "accuracy",
    "balanced_accuracy",
    "f1_macro",
    "auroc_ovo",
    "auroc_weighted",
    "auroc_micro",
    "auprc_trapezoid",
    "precision_macro",
    "recall_macro",
    "kappa",
    "quadratic_kappa",
]
"""The ids of `sweeper.metric.METRICS` of which a higher value is better: rate searches maximise them."""

COLUMNS = ("image", "label", "patient", "part")
PARTS = ("train", "val", "test")
_BESIDE = ("__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini")
"""What macOS, Synology and Windows put beside images; the rest of what they put there is hidden."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """An image set. `root` is always the site's data folder."""

    name: str
    classes: tuple[str, ...] | None
    """In the order of their targets, the positive class of a binary task last; None: the folders' names, sorted."""
    metric: Metric
    """The validation score that selects rates and epochs."""
    channels: Literal[1, 3]
    """Of the decoded image."""
    cite: str
    licence: str
    remedy: str
    """How to get it: the end of the error sentence when it is not there."""
    index: Callable[[Path], "pd.DataFrame"]
    """index(root): one row an image, as `make_index` makes it; `part` is the official one or missing."""
    decode: Callable[[Path, str], "np.ndarray"]
    """decode(root, image): uint8, height x width x channels."""
    sources: Callable[[Path, Sequence[str]], list[str]]
    """sources(root, images): text that changes when what the images are decoded from changes."""
    patients: str = "each image is its own patient"
    """Which images show one patient (or lesion, or exam), and where that is told."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Class -> the published number of images of the complete set; empty where none is published."""
    url: str = ""
    """Where it is described and handed out."""
    task: Literal["multilabel"] | None = None
    """Whether an image may have several classes, or none: labels are then written as `labels` says; None: one each."""
    packaged: bool = False
    """Whether a library brings it, so that it is always there."""


def task_of(classes: Sequence[str], declared: Literal["multilabel"] | None = None) -> Task:
    """The task that a set declares, or that its number of classes makes: `binary` for two, `multiclass` for more."""
    return declared or ("binary" if len(classes) == 2 else "multiclass")


def target_columns(classes: Sequence[str]) -> list[str]:
    """The columns of an index of a multi-label set that hold what is known of each class."""
    return [f"target_{number}" for number in range(len(classes))]


def make_index(rows: Iterable[tuple[str, str, str, str | None]]) -> "pd.DataFrame":
    """The rows (image, label, patient, part) as a frame of strings, sorted by image; a part of None is missing."""
    import pandas as pd

    frame = pd.DataFrame(list(rows), columns=list(COLUMNS)).astype("str")
    return frame.sort_values("image", ignore_index=True)


def read_index(dataset: Dataset, root: Path) -> tuple["pd.DataFrame", tuple[str, ...]]:
    """A set's index, sorted by image and with an integer column `target`, and its classes in the targets' order.

    Of a multi-label set the columns are `target_0`, `target_1`, ..., int8: 1, 0, or -1 where it is not known.

    Raises:
        FileNotFoundError: when the set is not there.
        ValueError: when names repeat, a class has no image, a label is no class, there is one label, or only some
            images have a part.
    """
    index = dataset.index(root).sort_values("image", ignore_index=True)
    if dataset.task == "multilabel":
        return _with_targets(index, dataset)
    classes = dataset.classes or tuple(sorted(set(index["label"])))
    if len(classes) == 1:
        raise ValueError(f"data set '{dataset.name}': all images have the label '{classes[0]}'; it needs two at least")
    _check_index(index, classes, dataset)
    targets = {label: target for target, label in enumerate(classes)}
    return index.assign(target=index["label"].map(targets).astype("int64")), classes


def find(name: str, places: Sequence[Path], remedy: str) -> Path:
    """The first of the places that exists, `unpacked`.

    Raises:
        FileNotFoundError: when none does, naming all of them, the remedy and the variable that sets the data folder.
    """
    for place in places:
        if place.exists():
            return unpacked(place)
    looked = ", ".join(str(place) for place in places)
    raise FileNotFoundError(
        f"data set '{name}' was not found; looked for {looked}; the environment variable SWEEPER_DATA sets the data "
        f"folder; to get it: {remedy}"
    )


def unpacked(folder: Path) -> Path:
    """The folder, or the one of its own name where that is all it holds: so archives unpack below their names."""
    inner = folder / folder.name
    if inner.is_dir() and all(each == inner or is_hidden(each) for each in folder.iterdir()):
        return unpacked(inner)
    return folder


def is_hidden(path: Path) -> bool:
    """Whether a file or a folder belongs to the system that wrote the archive, and is none of the set."""
    return path.name.startswith(".") or path.name in _BESIDE


def file_stamp(path: Path) -> str:
    """Size in bytes and time of the last change in ns: what differs once a file was written again."""
    found = path.stat()
    return f"{found.st_size} {found.st_mtime_ns}"


def _with_targets(index: "pd.DataFrame", dataset: Dataset) -> tuple["pd.DataFrame", tuple[str, ...]]:
    """The index of a multi-label set with a column per class, and the classes."""
    import pandas as pd

    if not dataset.classes:
        raise ValueError(f"data set '{dataset.name}' is multi-label and declares no classes; give them in an order")
    _check_rows(index, dataset.name)
    try:
        known = known_of(index["label"], dataset.classes)
    except ValueError as error:
        raise ValueError(f"data set '{dataset.name}': {error}") from error
    if not (told := (known == 1).any(axis=0)).all():
        _refuse_empty(dataset.classes[int(told.argmin())], dataset)
    targets = pd.DataFrame(known, columns=target_columns(dataset.classes), index=index.index)
    return pd.concat([index, targets], axis=1), dataset.classes


def _check_index(index: "pd.DataFrame", classes: tuple[str, ...], dataset: Dataset) -> None:
    _check_rows(index, dataset.name)
    if (foreign := ~index["label"].isin(classes)).any():
        what = f"{foreign.sum()} images have a label that is none of {', '.join(classes)}"
        _refuse(dataset.name, what, index["label"][foreign], "correct them")
    there = set(index["label"])
    if empty := [each for each in classes if each not in there]:
        _refuse_empty(empty[0], dataset)


def _check_rows(index: "pd.DataFrame", name: str) -> None:
    if (twice := index["image"].duplicated()).any():
        _refuse(name, f"{twice.sum()} image names stand twice", index["image"][twice], "keep one row each")
    given = index["part"].notna()
    if given.any() and (wrong := ~index["part"].isin(PARTS)).any():
        what = f"{wrong.sum()} images are in none of the parts {', '.join(PARTS)}"
        _refuse(name, what, index["image"][wrong], "give each its part, or none a part")


def _refuse(name: str, what: str, rows: Any, remedy: str) -> None:
    raise ValueError(f"data set '{name}': {what} (first: '{rows.iloc[0]}'); {remedy}")


def _refuse_empty(label: str, dataset: Dataset) -> None:
    raise ValueError(f"data set '{dataset.name}': class '{label}' has no image; to get all of it: {dataset.remedy}")
