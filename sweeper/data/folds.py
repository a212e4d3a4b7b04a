"""Which image trains, validates and tests: official parts, five patient-grouped folds, and shares of the patients.

Nothing is drawn by the cell's seed: a fold and a fraction name the same images in every run. scikit-learn is imported
inside the functions.
"""

import numpy as np
import pandas as pd

from sweeper.data.dataset import PARTS

FOLDS = 5
# These never change: a recorded fold or fraction would then mean other images.
_FOLD_SEED = 2026
_FRACTION_SEED = 2027


def split(index: pd.DataFrame, *, fold: int, fraction: float = 1.0, name: str) -> pd.Series:
    """The part of each image, `train`, `val`, `test` or `unused`, in the order and with the labels of the index's rows.

    Fold 0 is the official split; where it has no validation part, that is a patient-grouped, stratified fifth of the
    training part. In fold k of 1..5 group k of five patient-grouped, stratified groups is the test part, the next group
    (after the fifth the first) the validation part, and the other three train: over five folds each image is tested
    once. It depends on the images, labels, patients and official parts alone, not on the order of the rows.

    Args:
        index: columns `image`, `label`, `patient` and `part` (the official one, or missing).
        fold: 0..5.
        fraction: share of the training patients of each class, in (0, 1], rounded, at least one; the rest is `unused`.
            A smaller share is a subset of every larger one. A patient with several classes counts for the rarest.
        name: of the data set, for the errors.

    Raises:
        ValueError: when there is no official split, a patient is in two of its parts, a class is absent from train, or
            fewer than two are in val.
    """
    if fold not in range(FOLDS + 1):
        raise ValueError(f"{name}: fold is {fold}; it must be 0 (the official split) or 1..{FOLDS}")
    if not 0 < fraction <= 1:
        raise ValueError(f"{name} fold {fold}: fraction is {fraction}; it must be above 0 and at most 1")
    ordered = index.reset_index(drop=True).sort_values("image")
    parts = _official(ordered, name) if fold == 0 else _grouped(ordered, fold, name)
    parts = _keep_fraction(ordered, parts, fraction)
    _check_classes(ordered, parts, f"{name} fold {fold}")
    return parts.sort_index().set_axis(index.index)


def _official(index: pd.DataFrame, name: str) -> pd.Series:
    given = set(index["part"].dropna())
    if not {"train", "test"} <= given:
        raise ValueError(f"{name} has no official split: use fold=1..{FOLDS}")
    parts = index["part"].rename("part").copy()
    _check_patients(index, parts, f"{name} fold 0")
    if "val" not in given:
        train = index[parts == "train"]
        parts[train.index[_groups(train, f"{name} fold 0") == 0]] = "val"
    return parts


def _grouped(index: pd.DataFrame, fold: int, name: str) -> pd.Series:
    groups = _groups(index, f"{name} fold {fold}")
    parts = np.select([groups == fold - 1, groups == fold % FOLDS], ["test", "val"], default="train")
    return pd.Series(parts, index=index.index, name="part", dtype="str")


def _groups(index: pd.DataFrame, where: str) -> np.ndarray:
    """Each row's group, 0..4, by patient and stratified by class."""
    from sklearn.model_selection import StratifiedGroupKFold

    if (most := index["label"].value_counts().max()) < FOLDS:
        raise ValueError(f"{where}: the largest class has {most} images; {FOLDS} groups need at least {FOLDS}")
    cutter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=_FOLD_SEED)
    groups = np.empty(len(index), dtype=np.int64)
    for group, (_, held_out) in enumerate(cutter.split(index, index["label"], index["patient"])):
        groups[held_out] = group
    return groups


def _keep_fraction(index: pd.DataFrame, parts: pd.Series, fraction: float) -> pd.Series:
    """The parts with all but this share of the training patients of each class `unused`."""
    train = index[parts == "train"]
    rarest_first = train["label"].value_counts().sort_index().sort_values(kind="stable").index
    rank = train["label"].map({label: rank for rank, label in enumerate(rarest_first)})
    stratum = rank.groupby(train["patient"]).min().sort_index()  # patient -> class
    order = np.random.default_rng(_FRACTION_SEED).permutation(len(stratum))
    kept: set[str] = set()
    for _, patients in stratum.iloc[order].groupby(stratum.iloc[order]):
        kept |= set(patients.index[: max(1, round(fraction * len(patients)))])
    return parts.where((parts != "train") | index["patient"].isin(kept), "unused")


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
