"""Multi-label sets from their files to the tensors of a fold: cached, grouped by patient, with rare classes shared."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import make_site
from fakes import chexpert, nih_chestxray14

from sweeper.cell import Images
from sweeper.data import DATASETS, cache
from sweeper.data.cache import cached
from sweeper.data.dataset import Dataset, make_index, read_index
from sweeper.data.folds import split
from sweeper.data.labels import NO_LABEL, strata_of
from sweeper.data.loading import Loaded, cut_short, load
from sweeper.site import Site

FOLDS = range(1, 6)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site with both sets, of a hundred patients and more."""
    site = make_site(tmp_path_factory.mktemp("several"))
    chexpert.write(site.data, patients=160)
    nih_chestxray14.write(site.data, patients=140)
    return site


@pytest.fixture
def index(place: Site) -> pd.DataFrame:
    return read_index(DATASETS["nih_chestxray14"], place.data)[0]


def loaded(place: Site, dataset: str, **images: object) -> Loaded:
    return load(Images(**{"dataset": dataset, "size": 8, "fold": 1} | images), place)


@pytest.mark.parametrize("name", ["chexpert_u_ones", "nih_chestxray14"])
def test_the_labels_of_a_part_are_those_of_the_index(place: Site, name: str) -> None:
    data = loaded(place, name)
    texts = DATASETS[name].index(place.data).set_index("image")["label"]
    for part in (data.train, data.val, data.test):
        expected = [[each in texts[image].split("|") for each in data.classes] for image in part.names]
        assert part.labels.dtype == np.float32
        np.testing.assert_array_equal(part.labels, expected)


def test_what_is_not_known_is_not_a_number(place: Site) -> None:
    unknown, ones, zeros = (
        loaded(place, f"chexpert_{each}", fold=0).test for each in ("u_ignore", "u_ones", "u_zeros")
    )
    assert not np.isnan(unknown.labels).any()  # the radiologists are never uncertain
    np.testing.assert_array_equal(ones.labels, zeros.labels)
    train = loaded(place, "chexpert_u_ignore", fold=0).train
    texts = DATASETS["chexpert_u_ignore"].index(place.data).set_index("image")["label"]
    assert np.isnan(train.labels).sum() == sum(texts[image].count("?") for image in train.names) > 0


def test_a_loaded_set_knows_its_task(place: Site) -> None:
    assert loaded(place, "chexpert_u_zeros").task == "multilabel"
    assert loaded(place, "chexpert_edema").task == "binary"


def test_an_entry_of_another_task_is_another_entry(place: Site) -> None:
    rows = [(f"{number}.png", "ab"[number % 2], f"{number}", None) for number in range(4)]
    one = replace(
        DATASETS["nih_chestxray14"], name="either", task=None, classes=("a", "b"), index=lambda root: make_index(rows),
        decode=_grey, sources=lambda root, images: ["same"] * len(images),
    )  # fmt: skip
    several = replace(one, task="multilabel")
    first, second = cached(one, 4, place), cached(several, 4, place)
    assert (first.task, second.task) == ("binary", "multilabel")
    np.testing.assert_array_equal(first.pixels, second.pixels)


def _grey(root: Path, image: str) -> np.ndarray:
    return np.full((4, 4, 1), int(image[0]), dtype=np.uint8)


def test_the_cached_index_is_the_one_that_was_read(place: Site) -> None:
    dataset = DATASETS["chexpert_u_ignore"]
    cached(dataset, 8, place)
    cache._open.cache_clear()  # what is compared was on disk
    pd.testing.assert_frame_equal(cached(dataset, 8, place).index, read_index(dataset, place.data)[0])


def test_a_set_cut_short_keeps_the_labels_of_its_images(place: Site) -> None:
    data = loaded(place, "nih_chestxray14")
    short = cut_short(data, 7)
    where = [data.train.names.index(each) for each in short.train.names]
    np.testing.assert_array_equal(short.train.labels, data.train.labels[where])


@pytest.mark.parametrize("fold", FOLDS)
def test_a_patient_is_in_one_part_only(index: pd.DataFrame, fold: int) -> None:
    parts = split(index, fold=fold, name="x", several=True)
    assert (parts.groupby(index["patient"]).nunique() == 1).all()


@pytest.mark.parametrize("fold", FOLDS)
def test_every_stratum_is_cut_into_about_sixty_twenty_twenty(index: pd.DataFrame, fold: int) -> None:
    shares = pd.crosstab(strata_of(index), split(index, fold=fold, name="x", several=True), normalize="index")
    assert shares["test"].between(0.1, 0.3).all()
    assert shares["val"].between(0.1, 0.3).all()


def test_over_five_folds_each_image_is_tested_once(index: pd.DataFrame) -> None:
    tested = sum((split(index, fold=fold, name="x", several=True) == "test").astype(int) for fold in FOLDS)
    assert (tested == 1).all()


def test_the_official_test_part_stays_and_the_validation_part_is_of_other_patients(place: Site) -> None:
    official = DATASETS["nih_chestxray14"].index(place.data)
    parts = split(official, fold=0, name="x", several=True)
    assert ((parts == "test") == (official["part"] == "test")).all()
    assert (parts.groupby(official["patient"]).nunique() == 1).all()
    assert (parts == "val").sum() == pytest.approx(0.2 * (official["part"] == "train").sum(), rel=0.2)


def test_a_fraction_counts_the_training_patients_of_each_stratum(index: pd.DataFrame) -> None:
    strata = strata_of(index)
    whole, half = (split(index, fold=2, fraction=each, name="x", several=True) == "train" for each in (1.0, 0.5))
    patients, kept = (index["patient"][rows].groupby(strata[rows]).nunique() for rows in (whole, half))
    assert ((kept - 0.5 * patients).abs() <= 0.5).all()
    assert set(index["image"][half]) < set(index["image"][whole])


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_a_class_too_rare_for_the_training_part_is_refused() -> None:
    rows = [(f"{number:02d}", "a" if number % 2 else "", f"p{number:02d}", None) for number in range(40)]
    rows[0] = ("00", "a|rare", "p00", None)
    told = []
    for fold in FOLDS:
        try:
            split(make_index(rows), fold=fold, name="x", several=True)
        except ValueError as error:
            told.append(str(error))
    assert told, "its one patient is in val or test of two folds"
    assert all("class 'rare' has no image in train" in each for each in told)


def test_a_set_of_one_label_an_image_is_cut_as_ever(index: pd.DataFrame) -> None:
    alone = index.assign(label=strata_of(index))
    for fold in FOLDS:
        assert split(index, fold=fold, name="x", several=True).equals(split(alone, fold=fold, name="x"))


def several(rows: list[tuple[str, str, str, str | None]], **facts: object) -> Dataset:
    known = {"name": "fake", "classes": ("a", "b"), "index": lambda root: make_index(rows)}
    return replace(DATASETS["nih_chestxray14"], **known | facts)


def test_a_class_that_no_image_is_of_is_refused() -> None:
    with pytest.raises(ValueError, match="data set 'fake': class 'b' has no image"):
        read_index(several([("1", "a", "1", None), ("2", "?b", "2", None)]), Path())


def test_a_label_that_is_no_class_is_refused_with_the_set() -> None:
    with pytest.raises(ValueError, match=r"data set 'fake': label 'a\|c' names 'c', which is none of a, b"):
        read_index(several([("1", "a|c", "1", None)]), Path())


def test_a_multi_label_set_without_declared_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="'fake' is multi-label and declares no classes"):
        read_index(several([("1", "a", "1", None)], classes=None), Path())


def test_an_image_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="1 image names stand twice"):
        read_index(several([("1", "a", "1", None), ("1", "b", "1", None)]), Path())


def test_patients_without_any_class_are_shared_out_too(index: pd.DataFrame) -> None:
    silent = index.assign(label=index["label"].where(index["patient"].astype(int) > 40, ""))
    assert (strata_of(silent) == NO_LABEL).sum() == 120
    parts = split(silent, fold=1, name="x", several=True)
    assert (parts[strata_of(silent) == NO_LABEL] == "test").mean() == pytest.approx(0.2, abs=0.05)
