"""CBIS-DDSM's tables and images."""

import shutil
from pathlib import Path

import pytest
from fakes import draw, noise, write_fake
from fakes.cbis_ddsm import name_of, write_dicom

from sweeper.data import DATASETS
from sweeper.data.folds import split

NAMES = ("cbis_ddsm", "cbis_ddsm_mass", "cbis_ddsm_calc")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_fake("cbis_ddsm", tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    """The official tables, and empty files where their images would be."""
    import pandas as pd

    root = tmp_path_factory.mktemp("data")
    shutil.copytree(shared_data / "cbis_ddsm_csv", root / "CBIS-DDSM")
    (root / "CBIS-DDSM" / "images").mkdir()
    for table in (root / "CBIS-DDSM").glob("*.csv"):
        for image in pd.read_csv(table)["image file path"].str.split("/").str[0].unique():
            (root / "CBIS-DDSM" / "images" / f"{image}.png").touch()
    return root


@pytest.mark.parametrize("name", NAMES)
def test_the_official_tables_have_the_published_counts(official: Path, name: str) -> None:
    dataset = DATASETS[name]
    assert dataset.index(official)["label"].value_counts().to_dict() == dict(dataset.counts)


def test_the_official_tables_have_the_published_patients(official: Path) -> None:
    assert DATASETS["cbis_ddsm"].index(official)["patient"].nunique() == 1566


@pytest.mark.parametrize("name", ["cbis_ddsm_mass", "cbis_ddsm_calc"])
def test_the_official_parts_of_one_kind_share_no_patient(official: Path, name: str) -> None:
    assert set(split(DATASETS[name].index(official), fold=0, name=name)) == {"train", "val", "test"}


def test_the_official_parts_of_both_kinds_share_patients(official: Path) -> None:
    with pytest.raises(ValueError, match=r"cbis_ddsm fold 0: 31 patients are in train and in test"):
        split(DATASETS["cbis_ddsm"].index(official), fold=0, name="cbis_ddsm")


@pytest.mark.parametrize(
    ("patient", "label"),
    [("P_00000", "benign"), ("P_00001", "malignant"), ("P_00002", "benign"), ("P_00003", "malignant")],
)
def test_an_image_is_malignant_if_any_of_its_abnormalities_is(root: Path, patient: str, label: str) -> None:
    labels = DATASETS["cbis_ddsm"].index(root).set_index("image")["label"]
    assert labels[name_of("mass", "train", patient)] == label


def test_the_folders_may_have_other_names_within(root: Path) -> None:
    image = name_of("mass", "train", "P_00001")
    shutil.rmtree(root / "CBIS-DDSM" / image)
    write_dicom(root / "CBIS-DDSM" / image / "07-20-2016" / "1.0-full mammogram" / "1-1.dcm", noise(5, 8, 6))
    assert DATASETS["cbis_ddsm"].decode(root, image)[:, :, 0].tolist() == noise(5, 8, 6).tolist()


def test_the_folder_of_study_0_is_found(root: Path) -> None:
    (root / "CBIS-DDSM").rename(root / "mammograms")
    assert len(DATASETS["cbis_ddsm"].index(root)) == 32


def test_a_missing_mammogram_is_counted_and_named(root: Path) -> None:
    shutil.rmtree(root / "CBIS-DDSM" / name_of("mass", "test", "P_00008"))
    with pytest.raises(FileNotFoundError, match=r"1 files .* are not there \(first: .*Mass-Test_P_00008_LEFT_CC"):
        DATASETS["cbis_ddsm"].index(root)


def test_two_dicom_files_of_one_mammogram_are_refused(root: Path) -> None:
    write_dicom(root / "CBIS-DDSM" / name_of("mass", "train", "P_00001") / "000001.dcm", noise(0, 4, 4))
    with pytest.raises(ValueError, match=r"LEFT_CC holds 2 \.dcm files; a mammogram's holds one"):
        DATASETS["cbis_ddsm"].index(root)


def test_another_pathology_is_refused(root: Path) -> None:
    path = root / "CBIS-DDSM" / "calc_case_description_test_set.csv"
    path.write_text(path.read_text().replace(",MALIGNANT,", ",CANCER,"))
    with pytest.raises(ValueError, match=r"rows have another pathology than BENIGN, .* \(first: 'CANCER'\)"):
        DATASETS["cbis_ddsm"].index(root)


def test_one_table_missing_is_named(root: Path) -> None:
    (root / "CBIS-DDSM" / "calc_case_description_test_set.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"calc_case_description_test_set\.csv.* is not there"):
        DATASETS["cbis_ddsm"].index(root)


def test_a_picture_is_preferred_to_the_dicom_folder(root: Path) -> None:
    image = name_of("mass", "train", "P_00001")
    draw(root / "CBIS-DDSM" / "images" / f"{image}.png", 77, mode="L")
    assert DATASETS["cbis_ddsm"].decode(root, image)[:, :, 0].tolist() == noise(77, 12, 10).tolist()
