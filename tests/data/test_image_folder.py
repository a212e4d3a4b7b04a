"""Image folders that this project has not seen."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fakes import draw, noise, write_classes
from fakes.cbis_ddsm import write_dicom

from sweeper.data import DATASETS
from sweeper.data.dataset import read_index
from sweeper.data.folds import split
from sweeper.data.picture import decode_file

TWO = {"cat": 2, "dog": 2}


def _index(root: Path) -> pd.DataFrame:
    return DATASETS["folder:pets"].index(root)


def _images(root: Path) -> set[str]:
    return set(_index(root)["image"])


def test_each_folder_is_a_class(tmp_path: Path) -> None:
    write_classes(tmp_path / "pets", TWO)
    assert list(_index(tmp_path)["label"]) == ["cat", "cat", "dog", "dog"]


def test_classes_are_sorted_by_name(tmp_path: Path) -> None:
    write_classes(tmp_path / "pets", {"zebra": 1, "ape": 1, "dog": 1})
    assert read_index(DATASETS["folder:pets"], tmp_path)[1] == ("ape", "dog", "zebra")


def test_the_path_may_be_absolute(tmp_path: Path) -> None:
    write_classes(tmp_path / "pets", TWO)
    assert len(DATASETS[f"folder:{tmp_path / 'pets'}"].index(Path("/nowhere"))) == 4


def test_each_image_is_its_own_patient(tmp_path: Path) -> None:
    write_classes(tmp_path / "pets", TWO)
    assert _index(tmp_path)["patient"].is_unique


NAMED = r"folder:pets?patient=(P\d+)_"


def test_a_pattern_in_the_name_finds_the_patients(tmp_path: Path) -> None:
    for image in (
        "train/cat/P1_1.png",
        "train/cat/P1_2.png",
        "train/dog/P2_1.png",
        "test/cat/P31_1.png",
        "test/dog/P4_1.png",
    ):
        draw(tmp_path / "pets" / image, len(image))
    index = DATASETS[NAMED].index(tmp_path)
    assert dict(zip(index["image"], index["patient"], strict=True)) == {
        "test/cat/P31_1.png": "P31",
        "test/dog/P4_1.png": "P4",
        "train/cat/P1_1.png": "P1",
        "train/cat/P1_2.png": "P1",
        "train/dog/P2_1.png": "P2",
    }


def test_a_patient_may_be_a_folder(tmp_path: Path) -> None:
    for image in ("cat/ann/1.png", "cat/ann/2.png", "dog/bob/1.png"):
        draw(tmp_path / "pets" / image, len(image))
    assert list(DATASETS["folder:pets?patient=/(.+)/"].index(tmp_path)["patient"]) == ["ann", "ann", "bob"]


def test_an_image_in_whose_path_the_pattern_finds_nothing_is_named(tmp_path: Path) -> None:
    draw(tmp_path / "pets" / "cat" / "P1_1.png", 0)
    odd = draw(tmp_path / "pets" / "dog" / "1.png", 1)
    with pytest.raises(ValueError, match=rf"finds no patient in the path of image {odd}"):
        DATASETS[NAMED].index(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(P", r"'\(P' is no regular expression: missing \)"),
        ("P.", "has 0 groups; the patient is what one group finds"),
        ("(P)(.)", "has 2 groups"),
    ],
)
def test_another_pattern_is_refused(pattern: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DATASETS[f"folder:pets?patient={pattern}"]


def test_dicom_files_are_images_of_a_folder(tmp_path: Path) -> None:
    files = [write_dicom(tmp_path / "pets" / each / "1.dcm", noise(len(each), 6, 5)) for each in ("cat", "horse")]
    assert _images(tmp_path) == {"cat/1.dcm", "horse/1.dcm"}
    np.testing.assert_array_equal(DATASETS["folder:pets"].decode(tmp_path, "cat/1.dcm"), decode_file(files[0], 3))


def test_without_part_folders_there_is_no_official_part(tmp_path: Path) -> None:
    write_classes(tmp_path / "pets", TWO)
    assert _index(tmp_path)["part"].isna().all()


def test_train_and_test_alone_are_parts(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_classes(tmp_path / "pets" / part, {"cat": 6, "dog": 6})
    index = _index(tmp_path)
    cut = split(index, fold=0, name="pets")  # with a validation part out of the training part
    assert index["part"].value_counts().to_dict() == {"train": 12, "test": 12}
    assert set(cut) == {"train", "val", "test"}


def test_training_and_testing_are_parts_and_no_classes(tmp_path: Path) -> None:
    for part in ("Training", "Testing"):
        write_classes(tmp_path / "pets" / part, TWO)
    index, classes = read_index(DATASETS["folder:pets"], tmp_path)
    assert classes == ("cat", "dog")
    assert set(index["part"]) == {"train", "test"}


def test_parts_beside_another_folder_are_refused(tmp_path: Path) -> None:
    for part in ("train", "test", "extra"):
        write_classes(tmp_path / "pets" / part, TWO)
    with pytest.raises(ValueError, match=r"pets/test is called as a part is .* but .*/pets/extra is no part; take"):
        _index(tmp_path)


@pytest.mark.parametrize("name", ["__MACOSX", "@eaDir"])
def test_folders_of_other_systems_are_ignored_at_any_depth(tmp_path: Path, name: str) -> None:
    write_classes(tmp_path / "pets" / "train", TWO)
    write_classes(tmp_path / "pets" / "test", TWO)
    for folder in ("", "train", "train/cat"):
        write_classes(tmp_path / "pets" / folder / name, {"cat": 1})
    assert len(_images(tmp_path)) == 8


def test_a_folder_that_holds_nothing_but_one_of_its_name_is_that_one(tmp_path: Path) -> None:
    write_classes(tmp_path / "pets" / "pets", TWO)
    (tmp_path / "pets" / "__MACOSX").mkdir()
    assert _images(tmp_path) == {"cat/000.png", "cat/001.png", "dog/000.png", "dog/001.png"}
    assert DATASETS["folder:pets"].decode(tmp_path, "cat/000.png").shape == (12, 10, 3)


def test_a_folder_of_the_name_of_the_one_above_may_be_a_class(tmp_path: Path) -> None:
    write_classes(tmp_path / "pets", {"pets": 2, "others": 2})
    assert set(_index(tmp_path)["label"]) == {"pets", "others"}


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Val"])
def test_part_folders_are_the_official_parts(tmp_path: Path, validation: str) -> None:
    for part in ("train", validation, "TEST"):
        write_classes(tmp_path / "pets" / part, TWO)
    index = _index(tmp_path)
    assert index["part"].value_counts().to_dict() == {"train": 4, "val": 4, "test": 4}
    assert set(index["label"]) == {"cat", "dog"}


def test_a_class_may_be_called_train_beside_other_classes(tmp_path: Path) -> None:
    write_classes(tmp_path / "pets", {"train": 2, "plane": 2})
    assert set(_index(tmp_path)["label"]) == {"train", "plane"}


@pytest.mark.parametrize(
    "suffix", ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp", "gif", "pgm", "ppm", "PNG", "Jpg", "JPEG", "TIFF"]
)
def test_every_image_suffix_is_read_in_any_case(tmp_path: Path, suffix: str) -> None:
    write_classes(tmp_path / "pets", TWO)
    draw(tmp_path / "pets" / "cat" / f"other.{suffix}", 7)
    assert f"cat/other.{suffix}" in _images(tmp_path)


@pytest.mark.parametrize("name", ["notes.txt", "Thumbs.db", ".hidden.png", ".cache/inside.png", "list.csv"])
def test_other_and_hidden_files_are_ignored(tmp_path: Path, name: str) -> None:
    write_classes(tmp_path / "pets", TWO)
    file = tmp_path / "pets" / "cat" / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"nothing")
    assert len(_images(tmp_path)) == 4


def test_hidden_folders_are_no_classes(tmp_path: Path) -> None:
    write_classes(tmp_path / "pets", TWO)
    (tmp_path / "pets" / ".ipynb_checkpoints").mkdir()
    assert set(_index(tmp_path)["label"]) == {"cat", "dog"}


def test_folders_inside_a_class_folder_are_read(tmp_path: Path) -> None:
    write_classes(tmp_path / "pets", TWO)
    draw(tmp_path / "pets" / "dog" / "2019" / "may" / "a.png", 7)
    index = _index(tmp_path).set_index("image")
    assert index["label"]["dog/2019/may/a.png"] == "dog"


@pytest.mark.parametrize("name", ["näive köpek.png", "犬 (1).png", "a,b;c'd\".png", "line\nbreak.png"])
def test_any_name_is_kept_and_decodes(tmp_path: Path, name: str) -> None:
    write_classes(tmp_path / "pets", TWO)
    draw(tmp_path / "pets" / "dog" / name, 7)
    assert f"dog/{name}" in _images(tmp_path)
    assert DATASETS["folder:pets"].decode(tmp_path, f"dog/{name}").shape == (12, 10, 3)


def test_a_name_that_is_not_unicode_is_named(tmp_path: Path) -> None:
    write_classes(tmp_path / "pets", TWO)
    try:
        Path(os.fsdecode(os.fsencode(tmp_path / "pets" / "dog") + b"/\xff.png")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes no such name")
    with pytest.raises(ValueError, match=r"dog/\\udcff\.png' is no valid unicode"):
        _index(tmp_path)


def test_links_to_images_and_to_folders_are_followed(tmp_path: Path) -> None:
    write_classes(tmp_path / "pets", TWO)
    elsewhere = draw(tmp_path / "elsewhere" / "one.png", 7)
    (tmp_path / "pets" / "cat" / "link.png").symlink_to(elsewhere)
    (tmp_path / "pets" / "cat" / "more").symlink_to(elsewhere.parent)
    (tmp_path / "pets" / "bird").symlink_to(elsewhere.parent)
    assert {"cat/link.png", "cat/more/one.png", "bird/one.png"} <= _images(tmp_path)


def test_a_link_to_a_folder_above_is_refused(tmp_path: Path) -> None:
    write_classes(tmp_path / "pets", TWO)
    (tmp_path / "pets" / "cat" / "again").symlink_to(tmp_path / "pets" / "cat")
    with pytest.raises(ValueError, match="links back to"):
        _index(tmp_path)


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    write_classes(tmp_path / "pets", TWO)
    (tmp_path / "pets" / "cat" / "gone.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(FileNotFoundError, match=r"pets/cat/gone\.png"):
        DATASETS["folder:pets"].sources(tmp_path, ["cat/gone.png"])


def test_a_missing_folder_is_named_with_the_data_variable(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"looked for {tmp_path}/pets; .*SWEEPER_DATA"):
        _index(tmp_path)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pets").write_text("")
    with pytest.raises(ValueError, match="is a file; it must be a folder"):
        _index(tmp_path)


def test_images_without_class_folders_are_refused(tmp_path: Path) -> None:
    draw(tmp_path / "pets" / "a.png", 7)
    with pytest.raises(ValueError, match="holds no folder; it needs at least two class folders"):
        _index(tmp_path)


def test_one_class_is_refused(tmp_path: Path) -> None:
    write_classes(tmp_path / "pets", {"cat": 2})
    with pytest.raises(ValueError, match="holds cat; it needs at least two class folders"):
        _index(tmp_path)


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    write_classes(tmp_path / "pets", TWO)
    (tmp_path / "pets" / "emu").mkdir()
    with pytest.raises(ValueError, match=r"class folder .*pets/emu has no image \(\.png, "):
        _index(tmp_path)


def test_a_class_that_the_train_part_lacks_is_refused(tmp_path: Path) -> None:
    write_classes(tmp_path / "pets" / "train", TWO)
    write_classes(tmp_path / "pets" / "test", TWO | {"emu": 1})
    with pytest.raises(ValueError, match=r"pets/train has no class folder 'emu' as .*pets/test has"):
        _index(tmp_path)


def test_a_class_may_be_absent_from_the_test_part(tmp_path: Path) -> None:
    write_classes(tmp_path / "pets" / "train", TWO | {"emu": 1})
    write_classes(tmp_path / "pets" / "test", TWO)
    index = _index(tmp_path)
    assert set(index["label"][index["part"] == "train"]) - set(index["label"][index["part"] == "test"]) == {"emu"}


def test_two_folders_of_one_part_are_refused(tmp_path: Path) -> None:
    for part in ("train", "val", "valid"):
        write_classes(tmp_path / "pets" / part, TWO)
    with pytest.raises(ValueError, match="are both the part 'val'"):
        _index(tmp_path)


def test_a_set_with_fixed_classes_names_the_missing_one(tmp_path: Path) -> None:
    write_classes(tmp_path / "flower_photos", {"daisy": 1, "roses": 1})
    with pytest.raises(ValueError, match="no class folder 'dandelion'; it needs daisy, dandelion, roses"):
        DATASETS["flower_photos"].index(tmp_path)


def test_a_set_with_fixed_classes_ignores_other_folders(tmp_path: Path) -> None:
    write_classes(tmp_path / "flower_photos", dict.fromkeys(("daisy", "dandelion", "roses", "sunflowers", "tulips"), 1))
    write_classes(tmp_path / "flower_photos", {"__MACOSX": 1})
    assert len(DATASETS["flower_photos"].index(tmp_path)) == 5
