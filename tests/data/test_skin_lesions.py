"""ISIC 2018, ISIC 2019 and HAM10000."""

from pathlib import Path

import pytest
from fakes import write_fake

from sweeper.data import DATASETS

TRUTH_2018 = "ISIC2018/ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv"
LESIONS_2018 = "ISIC2018/ISIC2018_Task3_Training_LesionGroupings.csv"
TRUTH_2019 = "ISIC2019/ISIC_2019_Training_GroundTruth.csv"
METADATA_2019 = "ISIC2019/ISIC_2019_Training_Metadata.csv"
METADATA_HAM = "HAM10000/HAM10000_metadata.csv"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("isic2018", "isic2019", "ham10000"):
        write_fake(name, tmp_path)
    return tmp_path


def _change(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_isic2018_has_the_lesion_as_patient(root: Path) -> None:
    assert DATASETS["isic2018"].index(root)["patient"].nunique() == 7


def test_isic2018_without_the_table_of_lesions_has_each_image_as_its_own(root: Path) -> None:
    (root / LESIONS_2018).unlink()
    assert DATASETS["isic2018"].index(root)["patient"].is_unique


def test_isic2018_refuses_a_table_of_lesions_that_lacks_an_image(root: Path) -> None:
    _change(root / LESIONS_2018, "ISIC_0024307,", "ISIC_9999999,")
    with pytest.raises(ValueError, match=r"tells no lesion of 1 images \(first: 'ISIC_0024307'\)"):
        DATASETS["isic2018"].index(root)


def test_isic2018_labels_by_the_column_that_holds_one(root: Path) -> None:
    labels = DATASETS["isic2018"].index(root).set_index("image")["label"]
    assert labels["ISIC2018_Task3_Training_Input/ISIC_0024308.jpg"] == "NV"


def test_isic2018_finds_the_truth_beside_the_images_too(root: Path) -> None:
    (root / TRUTH_2018).rename(root / "ISIC2018" / Path(TRUTH_2018).name)
    assert len(DATASETS["isic2018"].index(root)) == 14


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("isic2018", "ISIC2018/ISIC2018_Task3_Training_Input/ISIC_0024307.jpg"),
        ("isic2019", "ISIC2019/ISIC_2019_Training_Input/ISIC_0000001.jpg"),
        ("ham10000", "HAM10000/HAM10000_images_part_2/ISIC_0024307.jpg"),
    ],
)
def test_a_missing_image_is_counted_and_named(root: Path, name: str, image: str) -> None:
    (root / image).unlink()
    with pytest.raises(
        FileNotFoundError, match=rf"1 files that .*csv names are not there \(first: .*{Path(image).name}"
    ):
        DATASETS[name].index(root)


def test_isic2019_images_without_lesion_are_their_own(root: Path) -> None:
    patients = DATASETS["isic2019"].index(root).set_index("image")["patient"]
    assert patients["ISIC_0000001"] == "MSK4_0000000"
    assert patients["ISIC_0000007"] == "ISIC_0000007"


def test_isic2019_reads_the_folder_of_study_1_too(root: Path) -> None:
    (root / "ISIC2019" / "ISIC_2019_Training_Input").rename(root / "ISIC2019" / "train")
    dataset = DATASETS["isic2019"]
    assert dataset.decode(root, dataset.index(root)["image"].iloc[0]).shape[2] == 3


def test_isic2019_refuses_an_image_of_no_class(root: Path) -> None:
    _change(root / TRUTH_2019, "ISIC_0000001,1.0", "ISIC_0000001,0.0")
    with pytest.raises(ValueError, match=r"1 rows have not exactly one 1 among MEL, NV.*first: 'ISIC_0000001'"):
        DATASETS["isic2019"].index(root)


def test_isic2019_refuses_metadata_that_lack_an_image(root: Path) -> None:
    _change(root / METADATA_2019, "ISIC_0000001,", "ISIC_9999999,")
    with pytest.raises(ValueError, match=r"lacks 1 images of ISIC_2019_Training_GroundTruth\.csv"):
        DATASETS["isic2019"].index(root)


def test_ham10000_finds_images_in_both_folders(root: Path) -> None:
    dataset = DATASETS["ham10000"]
    assert all(dataset.decode(root, image).size for image in dataset.index(root)["image"])


def test_ham10000_finds_images_that_were_unpacked_without_folder(root: Path) -> None:
    before = DATASETS["ham10000"].index(root)
    for image in (root / "HAM10000" / "HAM10000_images_part_2").iterdir():
        image.rename(root / "HAM10000" / image.name)
    assert DATASETS["ham10000"].index(root).equals(before)
    assert all(DATASETS["ham10000"].decode(root, image).size for image in before["image"])


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("isic2018", "ISIC2018/ISIC2018_Task3_Training_Input"),
        ("isic2019", "ISIC2019/ISIC_2019_Training_Input"),
        ("ham10000", "HAM10000/HAM10000_images_part_1"),
    ],
)
def test_images_that_were_unpacked_below_their_own_name_are_the_same(root: Path, name: str, folder: str) -> None:
    before = DATASETS[name].index(root)
    (root / folder).rename(root / "inner")
    (root / folder).mkdir()
    (root / "inner").rename(root / folder / Path(folder).name)
    assert DATASETS[name].index(root).equals(before)
    assert all(DATASETS[name].decode(root, image).size for image in before["image"])


def test_ham10000_refuses_another_diagnosis(root: Path) -> None:
    _change(root / METADATA_HAM, ",df,", ",wart,")
    with pytest.raises(ValueError, match=r"2 rows have another dx than nv, mel, .* \(first: 'wart'\)"):
        DATASETS["ham10000"].index(root)


def test_ham10000_refuses_an_image_that_stands_twice(root: Path) -> None:
    _change(root / METADATA_HAM, "ISIC_0024307", "ISIC_0024306")
    with pytest.raises(ValueError, match=r"1 rows repeat the image_id of another \(first: 'ISIC_0024306'\)"):
        DATASETS["ham10000"].index(root)


@pytest.mark.parametrize(("name", "table"), [("isic2018", LESIONS_2018), ("isic2019", METADATA_2019)])
def test_an_image_of_two_lesions_is_refused(root: Path, name: str, table: str) -> None:
    path = root / table
    path.write_text(f"{path.read_text()}{path.read_text().splitlines()[-1]}\n")
    with pytest.raises(ValueError, match=r"1 rows repeat the image of another .*; keep one row each"):
        DATASETS[name].index(root)
