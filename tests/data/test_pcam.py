"""PatchCamelyon and its subsets."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from fakes import write_fake
from fakes.pcam import ROWS, write

from sweeper.data import DATASETS
from sweeper.data.folds import split

FEW = {"train": 30, "valid": 12, "test": 12}
STEM = "pcam/camelyonpatch_level_2_split_"


@pytest.fixture
def few(tmp_path: Path) -> Path:
    write(tmp_path, FEW, side=96)
    return tmp_path


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_fake("pcam", root)
    return root


def test_each_image_is_its_row(few: Path) -> None:
    with h5py.File(few / f"{STEM}valid_x.h5") as file:
        expected = file["x"][5]
    np.testing.assert_array_equal(DATASETS["pcam"].decode(few, "val/000005"), expected)


def test_labels_are_those_of_the_file(few: Path) -> None:
    labels = DATASETS["pcam"].index(few).set_index("image")["label"]
    assert (labels["test/000000"], labels["test/000001"]) == ("normal", "tumour")


def test_parts_are_official(few: Path) -> None:
    assert DATASETS["pcam"].index(few)["part"].value_counts().to_dict() == {"train": 30, "val": 12, "test": 12}


def test_the_slide_is_the_patient(many: Path) -> None:
    assert DATASETS["pcam"].index(many)["patient"].nunique() == 102


def test_without_metadata_each_image_is_its_own(few: Path) -> None:
    for part in FEW:
        (few / f"{STEM}{part}_meta.csv").unlink()
    assert DATASETS["pcam"].index(few)["patient"].is_unique


def test_metadata_of_some_parts_alone_are_refused(few: Path) -> None:
    (few / f"{STEM}test_meta.csv").unlink()
    with pytest.raises(ValueError, match=r"holds some of the three _meta\.csv files"):
        DATASETS["pcam"].index(few)


def test_a_slide_in_two_parts_is_refused_by_the_official_split(few: Path) -> None:
    path = few / f"{STEM}test_meta.csv"
    path.write_text(path.read_text().replace("test_000", "train_000"))
    with pytest.raises(ValueError, match=r"1 patients are in train and in test \(first: train_000\)"):
        split(DATASETS["pcam"].index(few), fold=0, name="pcam")


@pytest.mark.parametrize(("name", "number", "seed"), [("pcam_small", 10_000, 22), ("pcam_middle", 100_000, 2)])
def test_a_subset_is_numpys_draw_of_the_pooled_rows(many: Path, name: str, number: int, seed: int) -> None:
    drawn = np.random.RandomState(seed).choice(sum(ROWS.values()), number, replace=False)
    pooled = [f"{'val' if part == 'valid' else part}/{row:06d}" for part in ROWS for row in range(ROWS[part])]
    index = DATASETS[name].index(many)
    assert list(index["image"]) == sorted(pooled[each] for each in drawn)
    assert index["part"].isna().all()


def test_a_subset_of_too_few_rows_is_refused(few: Path) -> None:
    with pytest.raises(ValueError, match="holds 54 patches; 10000 are to be drawn"):
        DATASETS["pcam_small"].index(few)


def test_labels_of_another_number_are_refused(few: Path) -> None:
    with h5py.File(few / f"{STEM}test_y.h5", "w") as file:
        file["y"] = np.zeros((11, 1, 1, 1), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"test_y\.h5 has 11 labels for the 12 images of .*test_x\.h5"):
        DATASETS["pcam"].index(few)


def test_a_label_that_is_neither_is_refused(few: Path) -> None:
    with h5py.File(few / f"{STEM}test_y.h5", "r+") as file:
        file["y"][3] = 2
    with pytest.raises(ValueError, match=r"test_y\.h5 holds the label 2; it must be 0 or 1"):
        DATASETS["pcam"].index(few)


def test_a_missing_file_is_named(few: Path) -> None:
    (few / f"{STEM}valid_x.h5").unlink()
    with pytest.raises(FileNotFoundError, match=r"valid_x\.h5 is not there; to get it: unpack the six"):
        DATASETS["pcam"].index(few)


def test_a_file_cut_short_is_named(few: Path) -> None:
    path = few / f"{STEM}train_x.h5"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"train_x\.h5: its array x cannot be read"):
        DATASETS["pcam"].index(few)


def test_a_file_written_again_is_read_again(few: Path) -> None:
    dataset, path = DATASETS["pcam"], few / f"{STEM}valid_x.h5"
    before = dataset.decode(few, "val/000000")
    path.unlink()  # as a download does: the open file stays what it was
    with h5py.File(path, "w") as file:
        file["x"] = np.repeat(255 - before[None], 12, axis=0)
    np.testing.assert_array_equal(dataset.decode(few, "val/000000"), 255 - before)
