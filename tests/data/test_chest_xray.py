"""Patients of the paediatric X-rays."""

from pathlib import Path

import pytest
from fakes import draw

from sweeper.data import DATASETS
from sweeper.data.folds import split

CHEST = DATASETS["chest_xray"]


def _patient(root: Path, name: str) -> str:
    for part in ("train", "test"):
        for label in ("NORMAL", "PNEUMONIA"):
            draw(root / "chest_xray" / part / label / "person7_virus_1.jpeg", 0, mode="L")
    draw(root / "chest_xray" / "train" / "NORMAL" / name, 0, mode="L")
    return CHEST.index(root).set_index("image")["patient"][f"train/NORMAL/{name}"]


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("person1_bacteria_1.jpeg", "person1"),
        ("person1680_virus_2897.jpeg", "person1680"),
        ("person1372_bacteria_3502_2.jpeg", "person1372"),
        ("IM-0115-0001.jpeg", "0115"),
        ("IM-0437-0001-0002.jpeg", "0437"),
        ("NORMAL2-IM-0115-0001.jpeg", "0115"),
        ("NORMAL2-IM-1320-0001-0002.jpeg", "1320"),
        ("NORMAL-1003233-0001.jpeg", "1003233"),
        ("BACTERIA-40699-0002.jpeg", "40699"),
        ("VIRUS-1980593-0001.jpeg", "1980593"),
    ],
)
def test_the_patient_is_read_off_the_name(tmp_path: Path, name: str, patient: str) -> None:
    assert _patient(tmp_path, name) == patient


def test_a_name_without_patient_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train/NORMAL/scan\.jpeg does not name its patient"):
        _patient(tmp_path, "scan.jpeg")


def test_the_copy_inside_kaggles_archive_is_not_read_twice(tmp_path: Path) -> None:
    for base in ("chest_xray", "chest_xray/chest_xray", "chest_xray/__MACOSX/chest_xray"):
        for part in ("train", "val", "test"):
            draw(tmp_path / base / part / "NORMAL" / "IM-0115-0001.jpeg", 0, mode="L")
            draw(tmp_path / base / part / "PNEUMONIA" / "person1_virus_6.jpeg", 1, mode="L")
    index = CHEST.index(tmp_path)
    assert sorted(index["part"]) == 2 * ["test"] + 2 * ["train"] + 2 * ["val"]
    assert index["image"].str.match("(train|val|test)/(NORMAL|PNEUMONIA)/").all()


def test_the_validation_folder_may_be_absent(tmp_path: Path) -> None:
    _patient(tmp_path, "IM-0115-0001.jpeg")
    assert set(CHEST.index(tmp_path)["part"]) == {"train", "test"}


def test_patients_are_those_that_the_published_code_reads(shared_data: Path) -> None:
    def published(name: str) -> str:
        return name.lstrip("IMNORMAL2").lstrip("-IM").replace("_", "-").split("-")[0]  # noqa: B005 (Juodelyte et al.'s rule)

    index = CHEST.index(shared_data)
    assert list(index["patient"]) == [published(Path(image).name) for image in index["image"]]


def test_the_official_parts_share_patients_by_this_rule(shared_data: Path) -> None:
    with pytest.raises(ValueError, match=r"chest_xray fold 0: 18 patients are in train and in test \(first: 0135\)"):
        split(CHEST.index(shared_data), fold=0, name="chest_xray")


def test_no_number_within_one_series_is_in_both_official_parts(shared_data: Path) -> None:
    index = CHEST.index(shared_data)
    series = index["image"].str.extract(r"(NORMAL2-IM|/IM|bacteria|virus)")[0] + index["patient"]
    assert series.notna().all()
    assert not set(series[index["part"] == "train"]) & set(series[index["part"] == "test"])


@pytest.mark.parametrize("fold", [1, 2, 3, 4, 5])
def test_patients_of_the_excerpt_are_in_one_part_each(shared_data: Path, fold: int) -> None:
    index = CHEST.index(shared_data)
    parts = split(index, fold=fold, name="chest_xray")
    assert (parts.groupby(index["patient"]).nunique() == 1).all()
