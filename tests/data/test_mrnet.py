"""MRNet's volumes, and the selected slices of Juodelyte et al. 2023."""

from pathlib import Path

import numpy as np
import pytest
from fakes import draw, write_fake

from sweeper.data import DATASETS

BASE = "MRNet-v1.0"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_fake("mrnet", tmp_path)
    write_fake("knee", tmp_path)
    return tmp_path


def _labels(root: Path, name: str) -> dict[str, str]:
    return DATASETS[name].index(root).groupby("patient")["label"].unique().map(", ".join).to_dict()


def test_every_slice_of_the_sagittal_volume_is_an_image(root: Path) -> None:
    volume = np.load(root / BASE / "train" / "sagittal" / "0004.npy")
    dataset = DATASETS["mrnet"]
    images = [image for image in dataset.index(root)["image"] if image.startswith("0004/")]
    decoded = np.stack([dataset.decode(root, image)[:, :, 0] for image in images])
    np.testing.assert_array_equal(decoded, volume)


def test_deeper_values_span_their_slice(root: Path) -> None:
    path = root / BASE / "train" / "sagittal" / "0000.npy"
    np.save(path, np.load(path).astype(np.int16) * 100)
    pixels = DATASETS["mrnet"].decode(root, "0000/001")
    assert (pixels.dtype, pixels.min(), pixels.max()) == (np.uint8, 0, 255)


def test_three_classes_are_acl_then_meniscus_then_normal(root: Path) -> None:
    assert _labels(root, "mrnet") == {
        "0000": "normal", "0001": "normal", "0002": "acl", "0003": "meniscus", "0004": "acl", "0005": "normal",
        "1130": "normal", "1131": "acl", "1132": "meniscus",
    }  # fmt: skip


def test_a_validation_exam_that_is_only_abnormal_has_no_torn_meniscus(root: Path) -> None:
    assert _labels(root, "mrnet_meniscus")["1131"] == "intact"


def test_the_binary_questions_read_their_own_tables(root: Path) -> None:
    assert [exam for exam, label in _labels(root, "mrnet_abnormal").items() if label == "normal"] == [
        "0000", "0005", "1130",
    ]  # fmt: skip


def test_the_official_validation_exams_are_tested_on(root: Path) -> None:
    index = DATASETS["mrnet"].index(root)
    assert set(index["patient"][index["part"] == "test"]) == {"1130", "1131", "1132"}


def test_a_volume_that_is_missing_is_named(root: Path) -> None:
    (root / BASE / "valid" / "sagittal" / "1131.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 files that .*valid-\*\.csv names .*first: .*sagittal/1131\.npy"):
        DATASETS["mrnet"].index(root)


def test_a_volume_without_label_is_named(root: Path) -> None:
    np.save(root / BASE / "valid" / "sagittal" / "1199.npy", np.zeros((2, 4, 4), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"1 exams have no label \(first: 1199\.npy\)"):
        DATASETS["mrnet"].index(root)


def test_tables_of_different_exams_are_refused(root: Path) -> None:
    path = root / BASE / "train-acl.csv"
    path.write_text(path.read_text().replace("0005,", "0009,"))
    with pytest.raises(ValueError, match=r"2 exams are not in each train table of acl, meniscus \(first: 0005\)"):
        DATASETS["mrnet"].index(root)


def test_another_finding_is_refused(root: Path) -> None:
    path = root / BASE / "train-acl.csv"
    path.write_text(path.read_text().replace("0005,0", "0005,2"))
    with pytest.raises(ValueError, match=r"train-acl\.csv: 1 rows have another finding than 0, 1 \(first: '2'\)"):
        DATASETS["mrnet"].index(root)


def test_a_volume_cut_short_is_named(root: Path) -> None:
    path = root / BASE / "train" / "sagittal" / "0000.npy"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"volume .*0000\.npy cannot be read"):
        DATASETS["mrnet"].index(root)


@pytest.mark.parametrize(
    ("image", "label"),
    [("acl/0003", "normal"), ("meniscus/0003", "meniscus"), ("acl/0004", "acl"), ("meniscus/1131", "normal")],
)
def test_a_selected_slice_is_labelled_by_its_structure_alone(root: Path, image: str, label: str) -> None:
    labels = DATASETS["knee"].index(root).set_index("image")["label"]
    assert labels[f"images/{image}_sagittal_7.png"] == label


def test_a_selected_slice_of_no_exam_is_refused(root: Path) -> None:
    draw(root / "knee" / "images" / "acl" / "5555_sagittal_7.png", 0)
    with pytest.raises(ValueError, match=r"5555_sagittal_7\.png does not name an exam of the acl tables"):
        DATASETS["knee"].index(root)


@pytest.mark.parametrize(("name", "table"), [("mrnet", "MRNet-v1.0/train-acl.csv"), ("knee", "knee/train-acl.csv")])
def test_an_exam_that_a_table_tells_twice_is_refused(root: Path, name: str, table: str) -> None:
    path = root / table
    exam, told = path.read_text().splitlines()[0].split(",")
    path.write_text(f"{path.read_text()}{exam},{1 - int(told)}\n")
    with pytest.raises(ValueError, match=rf"acl\.csv: 1 rows repeat the exam of another \(first: '{exam}'\)"):
        DATASETS[name].index(root)
