"""Image folders: one sub-folder per class, below folders of the official parts where there are such.

Labels in tables and patients in side files are not read here; a set that has them reads them in its own file.

A folder that a search space names, `folder:PATH`, makes each image its own patient, unless the name says how a path
tells the patient: `folder:PATH?patient=PATTERN`, a regular expression whose one group is searched in the image's path
below the folder. `folder:scans?patient=(P\\d+)_` finds `P012` in `train/healthy/P012_3.png`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.data.dataset import Dataset, file_stamp, find, is_hidden, make_index

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".ppm", ".dcm", ".dicom")
"""What counts as an image, in any case; other files are ignored."""
_PATIENT = "?patient="
PART_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip
"""What the official parts are called, in any case, and what they are called here."""


def image_folder(
    *,
    name: str,
    folder: str,
    remedy: str,
    also: tuple[str, ...] = (),
    classes: tuple[str, ...] | None = None,
    read: Callable[..., "pd.DataFrame"] | None = None,
    **facts: Any,
) -> Dataset:
    """A data set whose images are files below `folder` of the site's data folder.

    Args:
        folder: relative to the data folder, or absolute.
        also: other names that it may have.
        classes: the names of the class folders, others are ignored; None takes every folder.
        read: `read(base, name=...)` makes the index; None is `read_folder` with these classes.
        facts: the other fields of `Dataset`.
    """
    place = partial(_place, name, (folder, *also), remedy)
    return Dataset(
        name=name,
        classes=classes,
        remedy=remedy,
        index=partial(_index, place, read or partial(read_folder, classes=classes), name),
        decode=partial(_decode, place, facts["channels"]),
        sources=partial(_sources, place),
        **facts,
    )


def named_folder(name: str) -> Dataset:
    """The data set that `folder:PATH` names: colour images, AUROC as the selecting score.

    Raises:
        ValueError: when it names no folder, or its pattern is no regular expression with one group.
    """
    path, told, pattern = name.removeprefix("folder:").partition(_PATIENT)
    if not path:
        raise ValueError("data set 'folder:' names no folder; write folder:PATH, below the data folder or absolute")
    if not told:
        return _named_folder(name, path, patients="each image is its own patient; see folder:PATH?patient=PATTERN")
    _check_pattern(name, pattern)
    return _named_folder(
        name,
        path,
        read=partial(_read_with_patients, pattern),
        patients=f"what the group of {pattern} finds in the image's path below the folder",
    )


def _named_folder(name: str, path: str, **facts: Any) -> Dataset:
    return image_folder(
        name=name,
        folder=path,
        remedy="put one sub-folder per class there, or train, val and test folders that hold them",
        metric="auroc",
        channels=3,
        cite="the user's own image folder",
        licence="the user's own",
        **facts,
    )


def _check_pattern(name: str, pattern: str) -> None:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"data set '{name}': its pattern '{pattern}' is no regular expression: {error}") from error
    if groups != 1:
        raise ValueError(
            f"data set '{name}': its pattern '{pattern}' has {groups} groups; the patient is what one group finds, as "
            "(P\\d+)_ in P012_3.png"
        )


def _read_with_patients(pattern: str, base: Path, *, name: str) -> "pd.DataFrame":
    def patient_of(file: Path) -> str:
        found = re.search(pattern, file.relative_to(base).as_posix())
        if not (found and found[1]):
            raise ValueError(f"data set '{name}': the pattern '{pattern}' finds no patient in the path of image {file}")
        return found[1]

    return read_folder(base, name=name, patient_of=patient_of)


def read_folder(
    base: Path,
    *,
    name: str,
    classes: Sequence[str] | None = None,
    patient_of: Callable[[Path], str] | None = None,
    keep: Callable[[Path], bool] | None = None,
) -> "pd.DataFrame":
    """The index of a folder; an image is named by its path below `base`, with `/` between the folders.

    Where all folders of the first level are called train, training, val, valid, validation, test or testing, they are
    the official parts and hold the class folders; with given classes others may lie beside them. Hidden files and
    folders are ignored; folders inside a class folder are read too.

    Args:
        classes: the class folders to read; None reads all, at least two.
        patient_of: the patient an image file shows; None makes each image its own patient.
        keep: which image files count; None keeps all.

    Raises:
        ValueError: on fewer than two classes, a class folder without image, a class that the train part lacks, or
            folders that may be parts or classes.
    """
    parts = _part_folders(base, classes, name)
    found = {part: _class_folders(folder, classes, name) for part, folder in parts.items()}
    _check_learned_classes(found, parts, name)
    rows = []
    for part, folders in found.items():
        for folder in folders:
            files = [file for file in _image_files(folder) if keep is None or keep(file)]
            if not files:
                raise ValueError(
                    f"data set '{name}': class folder {folder} has no image ({', '.join(SUFFIXES)}); unpack the set "
                    "again, or take the folder away"
                )
            for file in files:
                image = _named(file, base)
                rows.append((image, folder.name, patient_of(file) if patient_of else image, part))
    return make_index(rows)


def _place(name: str, folders: Sequence[str], remedy: str, root: Path) -> Path:
    return find(name, [root / Path(folder).expanduser() for folder in folders], remedy)


def _index(place: Callable[[Path], Path], read: Callable[..., "pd.DataFrame"], name: str, root: Path) -> "pd.DataFrame":
    return read(place(root), name=name)


def _decode(place: Callable[[Path], Path], channels: int, root: Path, image: str) -> "np.ndarray":
    from sweeper.data.picture import decode_file

    return decode_file(place(root) / image, channels)


def _sources(place: Callable[[Path], Path], root: Path, images: Sequence[str]) -> list[str]:
    base = place(root)
    return [file_stamp(base / image) for image in images]


def _part_folders(base: Path, classes: Sequence[str] | None, name: str) -> dict[str | None, Path]:
    """Part -> its folder; the only part is None where the first level is not made of parts."""
    folders = _visible_folders(base, name)
    called = [folder for folder in folders if folder.name.lower() in PART_NAMES]
    others = [folder for folder in folders if folder not in called]
    if not called or any(folder.name in (classes or ()) for folder in others):
        return {None: base}
    if others and classes is None:
        for folder in called:
            _refuse_doubtful(folder, others[0], name)
        return {None: base}
    parts: dict[str | None, Path] = {}
    for folder in called:
        part = PART_NAMES[folder.name.lower()]
        if part in parts:
            raise ValueError(f"data set '{name}': {parts[part]} and {folder} are both the part '{part}'; keep one")
        parts[part] = folder
    return parts


def _refuse_doubtful(folder: Path, other: Path, name: str) -> None:
    """A folder called as a part that holds folders is one, and the other is no class then."""
    if _visible_folders(folder, name):
        raise ValueError(
            f"data set '{name}': {folder} is called as a part is and holds folders, but {other} is no part; take the "
            "latter away, or rename the former if it is a class"
        )


def _class_folders(folder: Path, classes: Sequence[str] | None, name: str) -> list[Path]:
    found = _visible_folders(folder, name)
    if classes is not None:
        names = {each.name for each in found}
        if missing := [each for each in classes if each not in names]:
            raise ValueError(
                f"data set '{name}': {folder} has no class folder '{missing[0]}'; it needs {', '.join(classes)}"
            )
        return [each for each in found if each.name in classes]
    if len(found) < 2:
        names = ", ".join(each.name for each in found) or "no folder"
        raise ValueError(f"data set '{name}': {folder} holds {names}; it needs at least two class folders")
    return found


def _check_learned_classes(found: dict[str | None, list[Path]], parts: dict[str | None, Path], name: str) -> None:
    names = {part: {folder.name for folder in folders} for part, folders in found.items()}
    learned = names.get("train", set().union(*names.values()))
    for part, own in names.items():
        if missing := sorted(own - learned):
            raise ValueError(
                f"data set '{name}': {parts['train']} has no class folder '{missing[0]}' as {parts[part]} has"
            )


def _visible_folders(folder: Path, name: str) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"data set '{name}': {folder} is a file; it must be a folder of class folders")
    return sorted(each for each in folder.iterdir() if each.is_dir() and not is_hidden(each))


def _named(file: Path, base: Path) -> str:
    image = file.relative_to(base).as_posix()
    try:
        image.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"the file name {str(file)!a} is no valid unicode; rename it") from error
    return image


def _image_files(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Image files at any depth; linked folders are followed, which `Path.rglob` does not do."""
    real = folder.resolve()
    if real in above:
        raise ValueError(f"folder {folder} links back to {real}, which holds it; remove the link")
    for each in sorted(folder.iterdir()):
        if is_hidden(each):
            continue
        if each.is_dir():
            yield from _image_files(each, (*above, real))
        elif each.suffix.lower() in SUFFIXES:
            yield each
