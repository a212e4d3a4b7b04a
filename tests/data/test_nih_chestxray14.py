"""NIH ChestX-ray14: its official table, its lists, and its folders."""

import gzip
from pathlib import Path

import pandas as pd
import pytest
from fakes import write_fake

from sweeper.data import DATASETS
from sweeper.data.nih_chestxray14 import read_entries

NIH = DATASETS["nih_chestxray14"]
BASE = "NIH_ChestXray14"
TABLE = f"{BASE}/Data_Entry_2017_v2020.csv"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_fake("nih_chestxray14", tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The complete official table."""
    packed = shared_data / "nih_chestxray14_csv" / "Data_Entry_2017_v2020.csv.gz"
    path = tmp_path_factory.mktemp("nih") / packed.stem
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    return read_entries(path)


def test_the_real_table_has_the_published_images_and_patients(real: pd.DataFrame) -> None:
    assert (len(real), real["patient"].nunique()) == (112120, 30805)


def test_the_real_table_has_the_published_number_of_images_of_each_finding(real: pd.DataFrame) -> None:
    told = real["label"][real["label"] != ""]
    assert told.str.get_dummies().sum().to_dict() == dict(NIH.counts)


def test_the_real_table_has_the_published_number_of_images_without_finding(real: pd.DataFrame) -> None:
    assert (real["label"] == "").sum() == 60361


def _change(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


def test_no_finding_is_no_label(root: Path) -> None:
    index = NIH.index(root).set_index("image")
    assert list(index["label"][["00000001_000.png", "00000001_001.png", "00000001_002.png"]]) == [
        "Atelectasis|Infiltration", "Atelectasis", "",
    ]  # fmt: skip


def test_the_lists_are_the_official_split(root: Path) -> None:
    parts = NIH.index(root).groupby("part")["patient"].nunique()
    assert parts.to_dict() == {"train": 12, "test": 3}


def test_without_the_lists_there_is_no_official_split(root: Path) -> None:
    for name in ("train_val_list.txt", "test_list.txt"):
        (root / BASE / name).unlink()
    assert NIH.index(root)["part"].isna().all()


def test_one_list_without_the_other_is_refused(root: Path) -> None:
    (root / BASE / "test_list.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"test_list\.txt is not there; to get it: "):
        NIH.index(root)


def test_an_image_in_both_lists_is_refused(root: Path) -> None:
    with (root / BASE / "test_list.txt").open("a") as file:
        file.write("00000001_000.png\n")
    with pytest.raises(ValueError, match=r"test_list\.txt repeats '00000001_000\.png'"):
        NIH.index(root)


def test_an_image_in_no_list_is_refused(root: Path) -> None:
    _change(root / BASE / "test_list.txt", "00000015_002.png\n", "")
    with pytest.raises(ValueError, match=r"lack 1 images \(first: '00000015_002\.png'\)"):
        NIH.index(root)


def test_images_are_found_in_one_folder_too(root: Path) -> None:
    (root / BASE / "images").mkdir()
    for folder in ("images_001", "images_002"):
        for file in (root / BASE / folder / "images").iterdir():
            file.rename(root / BASE / "images" / file.name)
    assert all(NIH.decode(root, image).size for image in NIH.index(root)["image"])


def test_a_missing_image_is_counted_and_named(root: Path) -> None:
    (root / BASE / "images_002/images/00000009_001.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"^1 files that .* \(first: .*00000009_001\.png\)"):
        NIH.index(root)


@pytest.mark.parametrize("wrong", ["Atelectasis|Wart", "No Finding|Mass", "Mass|Mass", ""])
def test_other_findings_are_refused(root: Path, wrong: str) -> None:
    _change(root / TABLE, "00000001_001.png,Atelectasis,", f"00000001_001.png,{wrong},")
    with pytest.raises(ValueError, match=rf"1 rows have other Finding Labels .*first: '{wrong.replace('|', '.')}'"):
        NIH.index(root)


def test_an_image_that_stands_twice_is_refused(root: Path) -> None:
    _change(root / TABLE, "00000001_001.png", "00000001_000.png")
    with pytest.raises(ValueError, match="1 rows repeat the Image Index of another"):
        NIH.index(root)
