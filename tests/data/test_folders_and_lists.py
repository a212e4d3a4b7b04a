"""APTOS 2019, KIMIA Path960, BIMCV, RadImageNet, ImageNet and BUSI in three classes."""

from pathlib import Path

import pytest
from fakes import draw, write_fake

from sweeper.data import DATASETS
from sweeper.data.dataset import read_index
from sweeper.data.folds import split


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("aptos2019", "kimia960", "bimcv", "radimagenet", "imagenet", "busi"):
        write_fake(name, tmp_path)
    return tmp_path


def test_aptos2019_refuses_another_grade(root: Path) -> None:
    path = root / "APTOS2019" / "train.csv"
    path.write_text(path.read_text().replace(",4\n", ",5\n"))
    with pytest.raises(ValueError, match=r"3 rows have another diagnosis than 0, 1, 2, 3, 4 \(first: '5'\)"):
        DATASETS["aptos2019"].index(root)


def test_aptos2019_without_its_table_is_refused(root: Path) -> None:
    (root / "APTOS2019" / "train.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"APTOS2019/train\.csv is not there; to get it"):
        DATASETS["aptos2019"].index(root)


def test_kimia960_labels_by_the_letter(root: Path) -> None:
    labels = DATASETS["kimia960"].index(root).set_index("image")["label"]
    assert (labels["A1.tif"], labels["A22.tif"], labels["T22.tif"]) == ("A", "A", "T")


@pytest.mark.parametrize("suffix", [".TIF", ".tiff"])
def test_kimia960_leaves_no_patch_out_for_its_ending(root: Path, suffix: str) -> None:
    (root / "kimia_path_960" / "A1.tif").rename(root / "kimia_path_960" / f"A1{suffix}")
    labels = DATASETS["kimia960"].index(root).set_index("image")["label"]
    assert labels[f"A1{suffix}"] == "A"
    assert len(labels) == 40


def test_kimia960_refuses_another_name(root: Path) -> None:
    draw(root / "kimia_path_960" / "slide.tif", 0)
    with pytest.raises(ValueError, match=r"slide\.tif is not named by the letter of its class and a number"):
        DATASETS["kimia960"].index(root)


def test_kimia960_refuses_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "kimia_path_960").mkdir()
    with pytest.raises(ValueError, match=r"kimia_path_960 has no \.tif image"):
        DATASETS["kimia960"].index(tmp_path)


def test_bimcv_groups_by_subject(root: Path) -> None:
    patients = DATASETS["bimcv"].index(root).set_index("image")["patient"]
    assert set(patients.value_counts()) == {1, 2}
    assert patients["val.png"] == "val.png"


def test_bimcv_reads_noisy_and_clean_tables(root: Path) -> None:
    path = root / "BIMCV" / "clean" / "1" / "train.csv"
    path.write_text(path.read_text().replace("train.png,0", "train.png,1"))
    noisy, clean = (DATASETS[name].index(root).set_index("image")["label"] for name in ("bimcv", "bimcv_clean"))
    assert (noisy["train.png"], clean["train.png"]) == ("0", "1")


def test_radimagenet_has_the_whole_folder_as_class(root: Path) -> None:
    assert read_index(DATASETS["radimagenet"], root)[1] == (
        "CT/lung/nodule",
        "MR/knee/acl",
        "MR/knee/normal",
        "US/aorta",
    )


def test_radimagenet_without_tables_has_the_same_images_and_no_parts(root: Path) -> None:
    dataset = DATASETS["radimagenet"]
    listed = dataset.index(root)
    for table in (root / "RadImageNet").glob("*.csv"):
        table.unlink()
    found = dataset.index(root)
    assert found[["image", "label"]].equals(listed[["image", "label"]])
    assert found["part"].isna().all()


def test_radimagenet_leaves_no_image_out_for_its_ending(root: Path) -> None:
    for table in (root / "RadImageNet").glob("*.csv"):
        table.unlink()
    first = next((root / "RadImageNet" / "radiology_ai" / "US" / "aorta").iterdir())
    first.rename(first.with_suffix(".PNG"))
    assert len(DATASETS["radimagenet"].index(root)) == 12


def test_radimagenet_needs_all_three_tables_or_none(root: Path) -> None:
    (root / "RadImageNet" / "RadiologyAI_val.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"RadiologyAI_val\.csv is not there"):
        DATASETS["radimagenet"].index(root)


def test_radimagenet_names_a_missing_image(root: Path) -> None:
    next((root / "RadImageNet" / "radiology_ai" / "US" / "aorta").iterdir()).unlink()
    with pytest.raises(FileNotFoundError, match=r"1 files that .*RadiologyAI_.*first: .*US/aorta"):
        DATASETS["radimagenet"].index(root)


def test_imagenet_is_tested_on_its_official_validation_part(root: Path) -> None:
    index = DATASETS["imagenet"].index(root)
    assert set(index["image"].str.split("/").str[0] + index["part"]) == {"traintrain", "valtest"}


def test_imagenet_cuts_its_validation_part_from_the_training_part(root: Path) -> None:
    for synset in ("n01440764", "n01443537", "n02099601"):
        for number in range(4, 20):
            draw(root / "imagenet" / "train" / synset / f"{number}.JPEG", number)
    index = DATASETS["imagenet"].index(root)
    parts = split(index, fold=0, name="imagenet")
    assert set(index["part"][parts == "val"]) == {"train"}
    assert (parts == "test").sum() == 6


def test_imagenet_without_its_two_folders_is_refused(root: Path) -> None:
    (root / "imagenet" / "val").rename(root / "imagenet" / "test")
    with pytest.raises(ValueError, match="holds other folders than train and val"):
        DATASETS["imagenet"].index(root)


def test_busi3_and_busi_are_the_same_images(root: Path) -> None:
    three, two = (DATASETS[name].index(root) for name in ("busi3", "busi"))
    assert list(three["image"]) == list(two["image"])
    assert list(three["label"].replace("normal", "benign")) == list(two["label"])


def test_busi3_of_the_excerpt_has_ten_images_a_class(shared_data: Path) -> None:
    assert DATASETS["busi3"].index(shared_data)["label"].value_counts().to_dict() == dict.fromkeys(
        ("normal", "benign", "malignant"), 10
    )
