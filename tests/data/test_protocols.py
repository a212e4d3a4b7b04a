"""The studies' splits against scikit-learn itself, and shots."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GroupKFold, ShuffleSplit, StratifiedKFold

from sweeper.cell import Images
from sweeper.data.dataset import make_index
from sweeper.data.folds import split
from sweeper.data.loading import load
from sweeper.data.protocols import FOLDS_OF, protocol_problem
from sweeper.site import Site

FOLDS = range(1, 6)
RANDOM = {"random_70_15_15": 0.7, "random_80_10_10": 0.8}


def _rows(patients: int, most: int, part: str | None = None) -> list[tuple[str, str, str, str | None]]:
    rng = np.random.default_rng(3)
    return [
        (f"{number:03d}-{image}", "abc"[number % 5 // 2], f"p{number:03d}" if most > 1 else f"{number:03d}-0", part)
        for number in range(patients)
        for image in range(rng.integers(1, most + 1))
    ]


@pytest.fixture
def grouped() -> pd.DataFrame:
    return make_index(_rows(200, 6))


@pytest.fixture
def single() -> pd.DataFrame:
    return make_index(_rows(500, 1))


def _images(index: pd.DataFrame, parts: pd.Series, part: str) -> set[str]:
    return set(index["image"][parts == part])


@pytest.mark.parametrize("fold", FOLDS)
def test_hidden_v2_of_patients_is_two_group_k_folds_of_scikit_learn(grouped: pd.DataFrame, fold: int) -> None:
    train, held = list(GroupKFold(5).split(grouped, groups=grouped["patient"]))[fold - 1]
    rest = grouped.iloc[held]
    *_, (test, val) = GroupKFold(4).split(rest, groups=rest["patient"])
    parts = split(grouped, fold=fold, protocol="hidden_v2", name="x")
    assert _images(grouped, parts, "train") == set(grouped["image"].iloc[train])
    assert _images(grouped, parts, "test") == set(rest["image"].iloc[test])
    assert _images(grouped, parts, "val") == set(rest["image"].iloc[val])


@pytest.mark.parametrize("fold", FOLDS)
def test_hidden_v2_without_patients_is_two_stratified_k_folds_of_scikit_learn(single: pd.DataFrame, fold: int) -> None:
    cutter = StratifiedKFold(5, shuffle=True, random_state=2)
    train, held = list(cutter.split(single, single["label"]))[fold - 1]
    rest = single.iloc[held]
    *_, (test, val) = StratifiedKFold(5).split(rest, rest["label"])
    parts = split(single, fold=fold, protocol="hidden_v2", name="x")
    assert _images(single, parts, "train") == set(single["image"].iloc[train])
    assert _images(single, parts, "test") == set(rest["image"].iloc[test])
    assert _images(single, parts, "val") == set(rest["image"].iloc[val])


def test_hidden_v2_has_the_study_s_shares(grouped: pd.DataFrame, single: pd.DataFrame) -> None:
    for index, shares in ((grouped, (0.80, 0.15, 0.05)), (single, (0.80, 0.16, 0.04))):
        found = split(index, fold=1, protocol="hidden_v2", name="x").value_counts(normalize=True)
        assert tuple(found[["train", "test", "val"]]) == pytest.approx(shares, abs=0.01)


def test_over_the_folds_of_hidden_v2_no_image_is_tested_twice(grouped: pd.DataFrame) -> None:
    times = sum((split(grouped, fold=fold, protocol="hidden_v2", name="x") == "test").astype(int) for fold in FOLDS)
    assert set(times) == {0, 1}
    assert times.mean() == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("protocol", ["hidden_v2", *RANDOM])
def test_a_patient_is_in_one_part_only(grouped: pd.DataFrame, protocol: str) -> None:
    parts = split(grouped, fold=FOLDS_OF[protocol][0], protocol=protocol, name="x")
    assert (parts.groupby(grouped["patient"]).nunique() == 1).all()


@pytest.mark.parametrize("protocol", [*FOLDS_OF][2:])
def test_no_protocol_depends_on_the_order_of_the_rows(grouped: pd.DataFrame, protocol: str) -> None:
    fold = FOLDS_OF[protocol][0]
    shuffled = grouped.sample(frac=1, random_state=3)
    parts = split(grouped, fold=fold, protocol=protocol, name="x")
    assert split(shuffled, fold=fold, protocol=protocol, name="x").sort_index().equals(parts)


@pytest.mark.parametrize(("protocol", "train"), RANDOM.items())
def test_random_images_are_drawn_as_scikit_learn_draws_them_twice_with_seed_42(
    grouped: pd.DataFrame, protocol: str, train: float
) -> None:
    parts = split(grouped, fold=0, protocol=f"{protocol}_images", name="x")
    learned, rest = next(ShuffleSplit(1, train_size=train, random_state=42).split(grouped))
    validated, tested = next(ShuffleSplit(1, train_size=0.5, random_state=42).split(rest))
    assert set(np.flatnonzero(parts == "train")) == set(learned)
    assert set(np.flatnonzero(parts == "val")) == set(rest[validated])
    assert set(np.flatnonzero(parts == "test")) == set(rest[tested])


@pytest.mark.parametrize("protocol", RANDOM)
def test_where_each_image_is_its_own_patient_both_random_forms_agree(single: pd.DataFrame, protocol: str) -> None:
    assert split(single, fold=0, protocol=protocol, name="x").equals(
        split(single, fold=0, protocol=f"{protocol}_images", name="x")
    )


@pytest.mark.parametrize(("protocol", "train"), RANDOM.items())
def test_random_parts_have_their_shares_of_the_patients(grouped: pd.DataFrame, protocol: str, train: float) -> None:
    patients = split(grouped, fold=0, protocol=protocol, name="x").groupby(grouped["patient"]).first()
    assert patients.value_counts(normalize=True)[["train", "val", "test"]].tolist() == pytest.approx(
        [train, (1 - train) / 2, (1 - train) / 2], abs=0.01
    )


def test_official_images_takes_official_parts_that_share_patients() -> None:
    rows = [*_rows(40, 3, "train"), ("again", "a", "p000", "test"), ("anew", "b", "p999", "test")]
    index = make_index(rows)
    with pytest.raises(ValueError, match="1 patients are in train and in test"):
        split(index, fold=0, name="x")
    parts = split(index, fold=0, protocol="official_images", name="x")
    assert _images(index, parts, "test") == {"again", "anew"}


@pytest.mark.parametrize("protocol", ["sweeper", "hidden_v2"])
def test_shots_keep_that_many_training_patients_of_each_class(grouped: pd.DataFrame, protocol: str) -> None:
    parts = split(grouped, fold=1, shots=7, protocol=protocol, name="x")
    kept = grouped[parts == "train"].groupby("label")["patient"].nunique()
    assert kept.to_dict() == {"a": 7, "b": 7, "c": 7}


def test_fewer_shots_are_a_subset_of_more(grouped: pd.DataFrame) -> None:
    chosen = [_images(grouped, split(grouped, fold=1, shots=n, name="x"), "train") for n in (1, 2, 5, 10, 20)]
    assert all(fewer < more for fewer, more in pairwise(chosen))


def test_shots_leave_validation_and_test_alone(grouped: pd.DataFrame) -> None:
    whole, few = (split(grouped, fold=1, shots=n, name="x") for n in (None, 3))
    assert (whole[whole != "train"] == few[whole != "train"]).all()


def test_a_fraction_and_as_many_shots_keep_the_same_patients(single: pd.DataFrame) -> None:
    parts = split(single, fold=1, name="x")
    patients = single[parts == "train"].groupby("label").size()
    rarest = patients.idxmin()
    few = split(single, fold=1, shots=round(0.25 * patients[rarest]), name="x")
    share = split(single, fold=1, fraction=0.25, name="x")
    own = single["label"] == rarest
    assert few[own].equals(share[own])


def test_more_shots_than_a_class_has_patients_are_refused(grouped: pd.DataFrame) -> None:
    message = r"^x fold 1: class 'c' has \d+ training patients; shots=100 needs as many of each class$"
    with pytest.raises(ValueError, match=message):
        split(grouped, fold=1, shots=100, name="x")


def test_a_set_too_small_for_a_protocol_is_refused_with_its_name() -> None:
    index = make_index(_rows(4, 1))
    for protocol, fold in (("hidden_v2", 1), ("random_70_15_15", 0)):
        with pytest.raises(ValueError, match=rf"^x {protocol} fold {fold}: "):
            split(index, fold=fold, protocol=protocol, name="x")


@pytest.mark.parametrize(
    ("protocol", "fold", "said"),
    [
        ("hidden_v2", 0, "protocol 'hidden_v2' has no fold 0; it has 1, 2, 3, 4, 5"),
        ("random_70_15_15", 1, "protocol 'random_70_15_15' has no fold 1; it has 0"),
        ("hidden_v3", 1, "protocol 'hidden_v3' is unknown; did you mean hidden_v2"),
        ("hidden_v1", 1, "protocol 'hidden_v1' is refused: its validation and its test part are the same images"),
        ("files:", 1, "protocol 'files:' names nothing"),
    ],
)
def test_a_wrong_protocol_or_fold_is_told_with_the_choices(protocol: str, fold: int, said: str) -> None:
    assert (protocol_problem(protocol, fold) or "").startswith(said)
    with pytest.raises(ValueError, match=f"^x: {said}"):
        split(make_index(_rows(40, 2)), fold=fold, protocol=protocol, name="x")


@pytest.mark.parametrize("protocol", FOLDS_OF)
def test_each_protocol_has_its_own_folds(protocol: str) -> None:
    assert [protocol_problem(protocol, fold) for fold in FOLDS_OF[protocol]] == [None] * len(FOLDS_OF[protocol])


def test_a_cell_loads_the_parts_of_its_protocol_and_shots(site: Site) -> None:
    loaded = load(Images(dataset="digits", protocol="hidden_v2", fold=1, size=8, shots=5), site)
    assert np.bincount(loaded.train.labels).tolist() == [5] * 10
    assert (len(loaded.test), len(loaded.val)) == (288, 72)
