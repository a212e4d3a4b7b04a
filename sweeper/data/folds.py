"""Which image trains, validates and tests: official parts, folds of patients, the studies' splits, shares of patients.

Nothing is drawn by the cell's seed: a protocol, a fold and a fraction name the same images in every run. Whether parts
share images or patients is judged in `leakage`, files are read in `split_files`. scikit-learn is imported inside the
functions.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sweeper.data.dataset import PARTS
from sweeper.data.labels import check_parts, strata_of
from sweeper.data.protocols import FILES, protocol_problem
from sweeper.data.split_files import read_parts

FOLDS = 5
# These never change: a recorded fold or fraction would then mean other images.
_FOLD_SEED = 2026
_FRACTION_SEED = 2027
_HIDDEN_SEED = 2  # Juodelyte et al. 2023
_RANDOM_SEED = 42  # Matsoukas et al. 2022


def split(
    index: pd.DataFrame,
    *,
    fold: int,
    fraction: float = 1.0,
    shots: int | None = None,
    protocol: str = "sweeper",
    root: Path = Path(),
    name: str,
    several: bool = False,
) -> pd.Series:
    """The part of each image, `train`, `val`, `test` or `unused`, in the order and with the labels of the index's rows.

    Protocol `sweeper`: fold 0 is the official split; where it has no validation part, that is a patient-grouped,
    stratified fifth of the training part. In fold k of 1..5 group k of five patient-grouped, stratified groups is the
    test part, the next group (after the fifth the first) the validation part, and the other three train: over five
    folds each image is tested once. It depends on the images, labels, patients and official parts alone, not on the
    order of the rows.

    `official_images`: the official parts even where they share patients.
    `hidden_v2` (Juodelyte et al. 2023): folds 1..5 of 80/15/5 % train/test/val by `GroupKFold`, neither shuffled nor
    stratified, where any patient has several images, else of 80/16/4 % by `StratifiedKFold`; over five folds only
    three quarters or four fifths of the images are tested. The latter depends on the order of the rows, which is that
    of the image names here: the authors' own parts are to be had by their files alone.
    `random_70_15_15` and `random_80_10_10`: one unstratified split of the patients, seed 42; with `_images` of the
    images, as Matsoukas et al. 2022 drew theirs, whose ids are not published.
    `files:PATH`: see `split_files.read_parts`; images that no file names are `unused`.

    Args:
        index: columns `image`, `label`, `patient` and `part` (the official one, or missing).
        fold: one that the protocol has.
        fraction: share of the training patients of each class, in (0, 1], rounded, at least one; the rest is `unused`.
            A smaller share is a subset of every larger one. A patient with several classes counts for the rarest.
        shots: this many training patients of each class instead of a share; fewer are a subset of more.
        root: the folder that a relative path of `files:PATH` is below.
        name: of the data set, for the errors.
        several: whether an image may have several classes; every patient is then of the class that is `strata_of`'s.

    Raises:
        ValueError: when there is no such protocol or fold, no official split, a patient is in two of its parts, a class
            is absent from train or has fewer patients than `shots`, or fewer than two are in val.
        FileNotFoundError: when files of `files:PATH` are not there.
    """
    if protocol == "sweeper" and fold not in range(FOLDS + 1):
        raise ValueError(f"{name}: fold is {fold}; it must be 0 (the official split) or 1..{FOLDS}")
    if (problem := protocol_problem(protocol, fold)) is not None:
        raise ValueError(f"{name}: {problem}")
    where = f"{name} fold {fold}" if protocol == "sweeper" else f"{name} {protocol} fold {fold}"
    if not 0 < fraction <= 1:
        raise ValueError(f"{where}: fraction is {fraction}; it must be above 0 and at most 1")
    ordered = told = index.reset_index(drop=True).sort_values("image")
    if several:
        ordered = told.assign(label=strata_of(told))
    if protocol.startswith(FILES):
        parts = read_parts(ordered, protocol.removeprefix(FILES), fold=fold, root=root, where=where)
    else:
        parts = _CUTS[protocol](ordered, fold, where)
    parts = _keep_fraction(ordered, parts, fraction) if shots is None else _keep_shots(ordered, parts, shots, where)
    (check_parts if several else _check_classes)(told, parts, where)
    return parts.sort_index().set_axis(index.index)


def _own(index: pd.DataFrame, fold: int, where: str) -> pd.Series:
    """The parts of the protocol `sweeper`."""
    if fold == 0:
        _check_patients(index, index["part"], where)
        return _official(index, fold, where)
    groups = _groups(index, where)
    parts = np.select([groups == fold - 1, groups == fold % FOLDS], ["test", "val"], default="train")
    return pd.Series(parts, index=index.index, name="part", dtype="str")


def _official(index: pd.DataFrame, fold: int, where: str) -> pd.Series:
    given = set(index["part"].dropna())
    if not {"train", "test"} <= given:
        raise ValueError(f"{where.removesuffix(' fold 0')} has no official split: use fold=1..{FOLDS}")
    parts = index["part"].rename("part").copy()
    if "val" not in given:
        train = index[parts == "train"]
        parts[train.index[_groups(train, where) == 0]] = "val"
    return parts


def _hidden_v2(index: pd.DataFrame, fold: int, where: str) -> pd.Series:
    from sklearn.model_selection import GroupKFold, StratifiedKFold

    cutters: tuple[Any, Any] = (StratifiedKFold(5, shuffle=True, random_state=_HIDDEN_SEED), StratifiedKFold(5))
    by = "label"
    if index["patient"].duplicated().any():
        cutters, by = (GroupKFold(5), GroupKFold(4)), "patient"
    _, held_out = _folds_of(cutters[0], index[by], where)[fold - 1]
    rest = index.iloc[held_out]
    test, val = _folds_of(cutters[1], rest[by], where)[-1]
    parts = pd.Series("train", index=index.index, name="part", dtype="str")
    parts[rest.index[test]] = "test"
    parts[rest.index[val]] = "val"
    return parts


def _folds_of(cutter: Any, by: pd.Series, where: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """The folds of a cutter of scikit-learn, which takes what it cuts by as labels or as groups."""
    groups = by if by.name == "patient" else None
    try:
        return list(cutter.split(by, by, groups))
    except ValueError as error:
        raise ValueError(f"{where}: {len(by)} images cannot be cut: {error}") from error


def _random(unit: str, train: float, index: pd.DataFrame, fold: int, where: str) -> pd.Series:
    """So large a share of the units trains; of the others half validate and half test."""
    from sklearn.model_selection import train_test_split

    units = sorted(set(index[unit]))
    if len(units) < _FEWEST_DRAWN:
        raise ValueError(f"{where}: {len(units)} {unit}s cannot be drawn from; it needs at least {_FEWEST_DRAWN}")
    learned, rest = train_test_split(units, train_size=train, random_state=_RANDOM_SEED)
    validated, _ = train_test_split(rest, train_size=0.5, random_state=_RANDOM_SEED)
    part_of = dict.fromkeys(units, "test") | dict.fromkeys(learned, "train") | dict.fromkeys(validated, "val")
    return index[unit].map(part_of).rename("part").astype("str")


_FEWEST_DRAWN = 20
"""Units that give every part at least one."""
_CUTS: dict[str, Callable[[pd.DataFrame, int, str], pd.Series]] = {
    "sweeper": _own,
    "official_images": _official,
    "hidden_v2": _hidden_v2,
    "random_70_15_15": partial(_random, "patient", 0.7),
    "random_70_15_15_images": partial(_random, "image", 0.7),
    "random_80_10_10": partial(_random, "patient", 0.8),
    "random_80_10_10_images": partial(_random, "image", 0.8),
}


def _groups(index: pd.DataFrame, where: str) -> np.ndarray:
    """Each row's group, 0..4, by patient and stratified by class."""
    if (most := index["label"].value_counts().max()) < FOLDS:
        raise ValueError(f"{where}: the largest class has {most} images; {FOLDS} groups need at least {FOLDS}")
    return _grouped(tuple(index["label"]), tuple(index["patient"]))


@lru_cache(maxsize=4)
def _grouped(labels: tuple[str, ...], patients: tuple[str, ...]) -> np.ndarray:
    """The same groups serve every fold and fraction: 220,000 rows take 12 s to cut."""
    from sklearn.model_selection import StratifiedGroupKFold

    cutter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=_FOLD_SEED)
    groups = np.empty(len(labels), dtype=np.int64)
    for group, (_, held_out) in enumerate(cutter.split(labels, labels, patients)):
        groups[held_out] = group
    groups.flags.writeable = False
    return groups


def _keep_fraction(index: pd.DataFrame, parts: pd.Series, fraction: float) -> pd.Series:
    """The parts with all but this share of the training patients of each class `unused`."""
    chosen = (own[: max(1, round(fraction * len(own)))] for own in _drawn_patients(index, parts).values())
    return _keep(index, parts, chosen)


def _keep_shots(index: pd.DataFrame, parts: pd.Series, shots: int, where: str) -> pd.Series:
    """The parts with all but so many training patients of each class `unused`."""
    drawn = _drawn_patients(index, parts)
    if few := {label: len(own) for label, own in drawn.items() if len(own) < shots}:
        label, count = min(few.items(), key=lambda each: each[1])
        raise ValueError(
            f"{where}: class '{label}' has {count} training patients; shots={shots} needs as many of each class"
        )
    return _keep(index, parts, (own[:shots] for own in drawn.values()))


def _keep(index: pd.DataFrame, parts: pd.Series, chosen: Iterable[list[str]]) -> pd.Series:
    kept = set().union(*chosen)
    return parts.where((parts != "train") | index["patient"].isin(kept), "unused")


def _drawn_patients(index: pd.DataFrame, parts: pd.Series) -> dict[str, list[str]]:
    """Class -> its training patients in an order drawn once for all; one with several classes is of the rarest."""
    train = index[parts == "train"]
    rarest_first = train["label"].value_counts().sort_index().sort_values(kind="stable").index
    rank = train["label"].map({label: rank for rank, label in enumerate(rarest_first)})
    stratum = rank.groupby(train["patient"]).min().sort_index()  # patient -> class
    drawn = stratum.iloc[np.random.default_rng(_FRACTION_SEED).permutation(len(stratum))]
    return {str(rarest_first[rank]): list(patients.index) for rank, patients in drawn.groupby(drawn)}


def _check_patients(index: pd.DataFrame, parts: pd.Series, where: str) -> None:
    patients = {part: set(index["patient"][parts == part]) for part in PARTS}
    for one, other in (("train", "test"), ("train", "val"), ("val", "test")):
        if shared := sorted(patients[one] & patients[other]):
            raise ValueError(f"{where}: {len(shared)} patients are in {one} and in {other} (first: {shared[0]})")


def _check_classes(index: pd.DataFrame, parts: pd.Series, where: str) -> None:
    """Every class can be learned and something can be selected by; scores leave a class out that is not tested."""
    there = {part: set(index["label"][parts == part]) for part in PARTS}
    if missing := sorted(set(index["label"]) - there["train"]):
        raise ValueError(f"{where}: class '{missing[0]}' has no image in train; it needs more patients")
    for part in ("val", "test"):
        if not there[part]:
            raise ValueError(f"{where}: {part} has no image; it needs more patients")
    if len(there["val"]) == 1:
        raise ValueError(f"{where}: val has images of class '{there['val'].pop()}' alone; it needs more patients")
