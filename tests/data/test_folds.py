"""Parts, folds and fractions."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sweeper.cell import digest
from sweeper.data import DATASETS
from sweeper.data.dataset import make_index
from sweeper.data.folds import split

FOLDS = range(1, 6)
FRACTIONS = (0.01, 0.1, 0.25, 0.5, 0.9, 1.0)


def _patients(
    patients: int = 120, *, part: str | None = None, first: int = 0
) -> list[tuple[str, str, str, str | None]]:
    """Patients with one to six images each, of one of three unequal classes."""
    rng = np.random.default_rng(first)
    rows = []
    for number in range(first, first + patients):
        label = "abc"[int(np.searchsorted([0.6, 0.9], rng.random()))]
        rows += [(f"{number:03d}-{image}", label, f"p{number:03d}", part) for image in range(rng.integers(1, 7))]
    return rows


@pytest.fixture
def index() -> pd.DataFrame:
    return make_index(_patients())


@pytest.fixture
def official() -> pd.DataFrame:
    return make_index(_patients(part="train") + _patients(40, part="test", first=200))


def _in_one_part_each(index: pd.DataFrame, parts: pd.Series) -> bool:
    return bool((parts.groupby(index["patient"]).nunique() == 1).all())


@pytest.mark.parametrize("fraction", FRACTIONS)
@pytest.mark.parametrize("fold", FOLDS)
def test_a_patient_is_in_one_part_only(index: pd.DataFrame, fold: int, fraction: float) -> None:
    assert _in_one_part_each(index, split(index, fold=fold, fraction=fraction, name="x"))


@pytest.mark.parametrize("part", ["test", "val"])
def test_over_five_folds_each_image_is_tested_and_validated_once(index: pd.DataFrame, part: str) -> None:
    times = sum((split(index, fold=fold, name="x") == part).astype(int) for fold in FOLDS)
    assert (times == 1).all()


@pytest.mark.parametrize("fold", FOLDS)
def test_the_next_fold_tests_what_this_one_validates(index: pd.DataFrame, fold: int) -> None:
    validated = split(index, fold=fold, name="x") == "val"
    tested = split(index, fold=fold % 5 + 1, name="x") == "test"
    assert validated.equals(tested)


@pytest.mark.parametrize("fold", FOLDS)
def test_each_class_is_cut_into_about_sixty_twenty_twenty(index: pd.DataFrame, fold: int) -> None:
    shares = pd.crosstab(index["label"], split(index, fold=fold, name="x"), normalize="index")
    assert shares["test"].between(0.1, 0.3).all()
    assert shares["val"].between(0.1, 0.3).all()
    assert shares["train"].between(0.5, 0.7).all()


@pytest.mark.parametrize("fold", [0, 1, 4])
@pytest.mark.parametrize("fraction", [0.3, 1.0])
def test_the_order_of_the_rows_does_not_matter(official: pd.DataFrame, fold: int, fraction: float) -> None:
    shuffled = official.sample(frac=1, random_state=3)
    parts = split(official, fold=fold, fraction=fraction, name="x")
    assert split(shuffled, fold=fold, fraction=fraction, name="x").sort_index().equals(parts)


def test_the_parts_carry_the_labels_of_the_rows(index: pd.DataFrame) -> None:
    renamed = index.set_axis([f"row {number}" for number in range(len(index))])
    parts = split(renamed, fold=2, name="x")
    assert parts.index.equals(renamed.index)
    assert list(parts) == list(split(index, fold=2, name="x"))


def test_other_columns_do_not_matter(index: pd.DataFrame) -> None:
    assert split(index.assign(target=5), fold=2, name="x").equals(split(index, fold=2, name="x"))


def test_what_recorded_folds_and_fractions_meant_stays(index: pd.DataFrame) -> None:
    parts = [list(split(index, fold=fold, fraction=0.5, name="x")) for fold in FOLDS]
    assert digest(parts) == "19c013a401e77779"


def test_an_official_split_with_validation_part_is_taken_as_it_is() -> None:
    rows = _patients(60, part="train") + _patients(30, part="val", first=100) + _patients(30, part="test", first=200)
    index = make_index(rows)
    assert list(split(index, fold=0, name="x")) == list(index["part"])


def test_without_validation_part_the_official_test_part_stays(official: pd.DataFrame) -> None:
    parts = split(official, fold=0, name="x")
    assert ((parts == "test") == (official["part"] == "test")).all()


def test_without_validation_part_a_fifth_of_the_training_part_validates(official: pd.DataFrame) -> None:
    parts = split(official, fold=0, name="x")[official["part"] == "train"]
    assert set(parts) == {"train", "val"}
    assert (parts == "val").mean() == pytest.approx(0.2, abs=0.03)


def test_without_validation_part_patients_stay_together(official: pd.DataFrame) -> None:
    assert _in_one_part_each(official, split(official, fold=0, name="x"))


def test_folds_one_to_five_do_not_depend_on_the_official_parts(official: pd.DataFrame) -> None:
    without = official.assign(part=pd.Series(np.nan, index=official.index, dtype="str"))
    assert split(official, fold=3, name="x").equals(split(without, fold=3, name="x"))


@pytest.mark.parametrize("fold", [0, 1, 5])
def test_a_smaller_fraction_is_a_subset_of_every_larger_one(official: pd.DataFrame, fold: int) -> None:
    chosen = [set(np.flatnonzero(split(official, fold=fold, fraction=f, name="x") == "train")) for f in FRACTIONS]
    for smaller, larger in pairwise(chosen):
        assert smaller < larger


@pytest.mark.parametrize("fold", [0, 1, 5])
def test_a_fraction_leaves_validation_and_test_alone(official: pd.DataFrame, fold: int) -> None:
    whole, tenth = (split(official, fold=fold, fraction=fraction, name="x") for fraction in (1.0, 0.1))
    assert (whole[whole != "train"] == tenth[whole != "train"]).all()
    assert set(tenth[whole == "train"]) == {"train", "unused"}


def test_the_whole_fraction_leaves_nothing_unused(index: pd.DataFrame) -> None:
    assert "unused" not in set(split(index, fold=1, name="x"))


def test_the_smallest_fraction_keeps_one_patient_of_each_class(index: pd.DataFrame) -> None:
    train = index[split(index, fold=1, fraction=1e-6, name="x") == "train"]
    assert train.groupby("label")["patient"].nunique().to_dict() == {"a": 1, "b": 1, "c": 1}


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_a_fraction_counts_the_patients_of_each_class(index: pd.DataFrame, fraction: float) -> None:
    whole = index[split(index, fold=1, name="x") == "train"].groupby("label")["patient"].nunique()
    share = index[split(index, fold=1, fraction=fraction, name="x") == "train"].groupby("label")["patient"].nunique()
    assert ((share - fraction * whole).abs() <= 0.5).all()


@pytest.mark.parametrize("fraction", [0.2, 0.5])
@pytest.mark.parametrize("fold", FOLDS)
def test_a_patient_of_two_classes_counts_for_the_rarer_one(fold: int, fraction: float) -> None:
    rare = set(np.random.default_rng(0).choice(60, size=20, replace=False))
    everyone = [(f"{number:02d}-a", "a", f"p{number:02d}", None) for number in range(60)]
    index = make_index(everyone + [(f"{number:02d}-b", "b", f"p{number:02d}", None) for number in rare])
    whole, share = (split(index, fold=fold, fraction=each, name="x") == "train" for each in (1.0, fraction))
    has_rare = index["label"] == "b"
    assert (share & has_rare).sum() == round(fraction * (whole & has_rare).sum())


def test_a_set_without_official_split_says_what_to_use(index: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"^x has no official split: use fold=1\.\.5$"):
        split(index, fold=0, name="x")


def test_an_official_split_without_test_part_is_none() -> None:
    with pytest.raises(ValueError, match="no official split"):
        split(make_index(_patients(part="train")), fold=0, name="x")


def test_a_patient_in_two_official_parts_is_refused_with_count_and_name() -> None:
    rows = _patients(30, part="train") + [(f"again {number}", "a", f"p{number:03d}", "test") for number in (7, 5, 11)]
    with pytest.raises(ValueError, match=r"^x fold 0: 3 patients are in train and in test \(first: p005\)$"):
        split(make_index(rows), fold=0, name="x")


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_a_class_that_cannot_be_learned_is_refused_with_its_name(index: pd.DataFrame) -> None:
    rare = make_index([*_patients(), ("r1", "rare", "r1", None)])
    told = []
    for fold in FOLDS:
        try:
            split(rare, fold=fold, name="x")
        except ValueError as error:
            told.append(str(error))
    assert told, "its one patient is in val or test of two folds"
    assert all("class 'rare' has no image in train; " in each for each in told)


def test_a_validation_part_of_one_class_is_refused() -> None:
    rows = [(f"{number}", "ab"[number % 2], f"{number}", "train") for number in range(8)]
    rows += [("v1", "a", "v1", "val"), ("t1", "a", "t1", "test"), ("t2", "b", "t2", "test")]
    with pytest.raises(ValueError, match="x fold 0: val has images of class 'a' alone; it needs more patients"):
        split(make_index(rows), fold=0, name="x")


def test_a_class_may_be_absent_from_the_official_test_part() -> None:
    rows = [
        (f"{part}{number}", "abc"[number % 3], f"{part}{number}", part)
        for number in range(9)
        for part in ("train", "val")
    ]
    rows += [("t1", "a", "t1", "test"), ("t2", "b", "t2", "test")]
    assert split(make_index(rows), fold=0, name="x").value_counts()["test"] == 2


def test_a_set_too_small_for_five_groups_is_refused() -> None:
    index = make_index([(f"{number}", "ab"[number % 2], f"{number}", None) for number in range(8)])
    with pytest.raises(ValueError, match="x fold 1: the largest class has 4 images; 5 groups need at least 5"):
        split(index, fold=1, name="x")


@pytest.mark.parametrize("fold", [-1, 6])
def test_there_are_no_other_folds(index: pd.DataFrame, fold: int) -> None:
    with pytest.raises(ValueError, match=rf"x: fold is {fold}; it must be 0"):
        split(index, fold=fold, name="x")


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.5, float("nan")])
def test_a_fraction_is_above_zero_and_at_most_one(index: pd.DataFrame, fraction: float) -> None:
    with pytest.raises(ValueError, match="it must be above 0 and at most 1"):
        split(index, fold=1, fraction=fraction, name="x")


def test_the_official_parts_of_breastmnist_are_those_of_its_file(shared_data: Path) -> None:
    index = DATASETS["breastmnist"].index(shared_data)
    assert split(index, fold=0, name="breastmnist").value_counts().to_dict() == {"train": 546, "test": 156, "val": 78}
