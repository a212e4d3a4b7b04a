"""DDSM by lists."""

from pathlib import Path

import pytest
from fakes import write_fake

from sweeper.data import DATASETS
from sweeper.data.folds import split


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_fake("ddsm", tmp_path)
    return tmp_path


def test_benign_and_cancer_are_both_abnormal(root: Path) -> None:
    index = DATASETS["ddsm"].index(root)
    kinds = index["image"].str.split("_").str[0]
    assert set(kinds[index["label"] == "abnormal"]) == {"benign", "cancer"}
    assert set(kinds[index["label"] == "normal"]) == {"normal"}


def test_the_three_classes_begin_the_names(root: Path) -> None:
    index = DATASETS["ddsm3"].index(root)
    assert list(index["label"]) == list(index["image"].str.split("_").str[0])


def test_the_views_of_a_case_are_of_one_patient(root: Path) -> None:
    index = DATASETS["ddsm"].index(root)
    assert set(index["patient"].value_counts()) == {2}
    assert index["patient"].str.fullmatch(r"B_\d+").all()


def test_the_lists_are_the_official_split(root: Path) -> None:
    index = DATASETS["ddsm"].index(root)
    assert list(split(index, fold=0, name="ddsm")) == list(index["part"])


def test_a_listed_image_that_is_missing_is_named(root: Path) -> None:
    image = DATASETS["ddsm"].index(root)["image"].iloc[0]
    (root / "DDSM" / "ddsm_raw" / image).unlink()
    with pytest.raises(FileNotFoundError, match=rf"1 files that .*\.txt names are not there \(first: .*{image}\)"):
        DATASETS["ddsm"].index(root)


def test_another_name_is_refused(root: Path) -> None:
    (root / "DDSM" / "ddsm_raw" / "odd_1.jpg").touch()
    (root / "DDSM" / "ddsm_raw_image_lists" / "val.txt").write_text("odd_1.jpg\n")
    with pytest.raises(ValueError, match=r"list .*val\.txt: 'odd_1\.jpg' is not named as cancer_15-B_3504_1"):
        DATASETS["ddsm"].index(root)


def test_a_missing_list_is_named(root: Path) -> None:
    (root / "DDSM" / "ddsm_raw_image_lists" / "val.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"ddsm_raw_image_lists/val\.txt is not there"):
        DATASETS["ddsm"].index(root)
