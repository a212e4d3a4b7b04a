"""Thyroid nodules and their TI-RADS."""

from pathlib import Path

import pytest
from fakes import draw, write_fake
from fakes.ddti import write_case

from sweeper.data import DATASETS


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_fake("ddti", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("1_1.jpg", "benign"), ("2_1.jpg", "benign"), ("3_1.jpg", "malignant"), ("4_1.jpg", "malignant"),
        ("5_1.jpg", "malignant"), ("6_1.jpg", "malignant"), ("7_1.jpg", "benign"), ("8_1.jpg", "benign"),
    ],
)  # fmt: skip
def test_from_four_on_it_is_malignant_and_without_grade_benign(root: Path, image: str, label: str) -> None:
    assert DATASETS["ddti"].index(root).set_index("image")["label"][image] == label


def test_the_graded_set_leaves_out_cases_without_tirads(root: Path) -> None:
    whole, graded = (set(DATASETS[name].index(root)["image"]) for name in ("ddti", "ddti_graded"))
    assert whole - graded == {"7_1.jpg", "7_2.jpg", "8_1.jpg"}


def test_the_images_of_a_case_are_of_one_patient(root: Path) -> None:
    patients = DATASETS["ddti"].index(root).set_index("image")["patient"]
    assert patients["3_1.jpg"] == patients["3_2.jpg"] == "3"


def test_an_image_that_a_mark_names_must_be_there(root: Path) -> None:
    (root / "thyroid" / "3_2.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 files that .* names are not there \(first: .*thyroid/3_2\.jpg\)"):
        DATASETS["ddti"].index(root)


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg"])
def test_the_ending_of_an_image_may_be_written_otherwise(root: Path, suffix: str) -> None:
    before = set(DATASETS["ddti"].index(root)["image"])
    (root / "thyroid" / "3_2.jpg").rename(root / "thyroid" / f"3_2{suffix}")
    assert set(DATASETS["ddti"].index(root)["image"]) ^ before == {"3_2.jpg", f"3_2{suffix}"}


def test_an_image_without_case_is_refused(root: Path) -> None:
    draw(root / "thyroid" / "9_1.jpg", 9)
    with pytest.raises(FileNotFoundError, match=r"1 files that .* names are not there \(first: .*thyroid/9\.xml\)"):
        DATASETS["ddti"].index(root)


def test_another_grade_is_refused(root: Path) -> None:
    write_case(root / "thyroid" / "1.xml", "benign", marks=(1,))
    with pytest.raises(ValueError, match=r"1\.xml has the TI-RADS 'benign'; it must be 1\.\.6"):
        DATASETS["ddti"].index(root)


def test_a_damaged_case_is_named(root: Path) -> None:
    (root / "thyroid" / "1.xml").write_text("<case><number>1")
    with pytest.raises(ValueError, match=r"1\.xml is no XML"):
        DATASETS["ddti"].index(root)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thyroid").mkdir()
    with pytest.raises(ValueError, match=r"thyroid has no image named as 1_1\.jpg; unpack thyroid\.zip"):
        DATASETS["ddti"].index(tmp_path)
