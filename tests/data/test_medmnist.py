"""MedMNIST's files."""

from pathlib import Path

import numpy as np
import pytest
from fakes import write_npz

from sweeper.data import DATASETS
from sweeper.data.dataset import read_index, target_columns

COUNTS = {"train": 6, "val": 4, "test": 2}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("place", ["data/medmnist", "data", "home/.medmnist"])
def test_a_file_is_found_in_each_of_the_three_places(tmp_path: Path, place: str) -> None:
    write_npz(tmp_path / place / "breastmnist.npz", classes=2, counts=COUNTS)
    assert len(DATASETS["breastmnist"].index(tmp_path / "data")) == 12


def test_a_missing_file_lists_the_three_places(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        DATASETS["breastmnist"].index(tmp_path / "data")
    for place in ("data/medmnist", "data", "home/.medmnist"):
        assert str(tmp_path / place / "breastmnist.npz") in str(error.value)


def test_each_image_is_its_array_entry(tmp_path: Path) -> None:
    path = tmp_path / "breastmnist.npz"
    write_npz(path, classes=2, counts=COUNTS)
    with np.load(path) as file:
        expected = np.concatenate([file[f"{part}_images"] for part in sorted(COUNTS)])
    dataset = DATASETS["breastmnist"]
    decoded = [dataset.decode(tmp_path, image)[:, :, 0] for image in dataset.index(tmp_path)["image"]]
    np.testing.assert_array_equal(decoded, expected)


def test_labels_are_named_in_the_official_order(tmp_path: Path) -> None:
    write_npz(tmp_path / "pneumoniamnist.npz", classes=2, counts=COUNTS)
    index = DATASETS["pneumoniamnist"].index(tmp_path)
    assert list(index["label"][index["part"] == "train"]) == ["normal", "pneumonia"] * 3


def test_a_file_written_again_is_read_again(tmp_path: Path) -> None:
    path, dataset = tmp_path / "breastmnist.npz", DATASETS["breastmnist"]
    write_npz(path, classes=2, counts=COUNTS)
    before = dataset.decode(tmp_path, "val/000000")
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | {"val_images": 255 - arrays["val_images"]})
    np.testing.assert_array_equal(dataset.decode(tmp_path, "val/000000"), 255 - before)


def test_a_label_beyond_the_classes_is_refused(tmp_path: Path) -> None:
    write_npz(tmp_path / "breastmnist.npz", classes=3, counts=COUNTS)
    with pytest.raises(ValueError, match=r"breastmnist\.npz: train_labels hold 2; 'breastmnist' has 0\.\.1"):
        DATASETS["breastmnist"].index(tmp_path)


def test_the_labels_of_chestmnist_are_its_matrix(tmp_path: Path) -> None:
    path = tmp_path / "chestmnist.npz"
    write_npz(path, classes=14, counts=COUNTS | {"train": 15}, several=True)
    index, classes = read_index(DATASETS["chestmnist"], tmp_path)
    with np.load(path) as file:
        for part in COUNTS:
            found = index[index["part"] == part][target_columns(classes)]
            np.testing.assert_array_equal(found, file[f"{part}_labels"])


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.zeros((6, 1), dtype=np.uint8), r"train_labels have shape \(6, 1\); 'chestmnist' has 14 classes an image"),
        (np.full((6, 14), 2, dtype=np.uint8), "train_labels hold 2; of each class they must tell 0 or 1"),
    ],
)
def test_other_labels_of_chestmnist_are_refused(tmp_path: Path, labels: np.ndarray, said: str) -> None:
    path = tmp_path / "chestmnist.npz"
    write_npz(path, classes=14, counts=COUNTS, several=True)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | {"train_labels": labels})
    with pytest.raises(ValueError, match=rf"chestmnist\.npz: {said}"):
        DATASETS["chestmnist"].index(tmp_path)


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    path = tmp_path / "breastmnist.npz"
    write_npz(path, classes=2, counts=COUNTS)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=str(path)):
        DATASETS["breastmnist"].index(tmp_path)


def test_images_that_are_damaged_are_named(tmp_path: Path) -> None:
    path = tmp_path / "breastmnist.npz"
    write_npz(path, classes=2, counts=COUNTS)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez_compressed(path, **arrays | {"test_images": np.random.default_rng(0).bytes(2 * 28 * 28)})
    with pytest.raises(
        ValueError, match=r"breastmnist\.npz: its array test_images cannot be read: .*; fetch the file again"
    ):
        DATASETS["breastmnist"].decode(tmp_path, "test/000001")


@pytest.mark.parametrize(("shape", "dtype"), [((2, 28, 28, 3), "uint8"), ((2, 28, 28), "float32"), ((2, 784), "uint8")])
def test_other_pixels_are_named(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    path = tmp_path / "breastmnist.npz"
    write_npz(path, classes=2, counts=COUNTS)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | {"test_images": np.zeros(shape, dtype)})
    for read in (DATASETS["breastmnist"].index, lambda root: DATASETS["breastmnist"].decode(root, "test/000001")):
        with pytest.raises(ValueError, match=rf"test_images is {dtype} .*; an image of it must be uint8 of 28 x 28;"):
            read(tmp_path)


@pytest.mark.parametrize("name", ["breastmnist", "breastmnist_128"])
def test_a_file_of_another_size_is_refused_before_any_image_is_read(tmp_path: Path, name: str) -> None:
    write_npz(tmp_path / f"{name}.npz", classes=2, counts=COUNTS, size=64)
    with pytest.raises(
        ValueError, match=rf"{name}\.npz: its array train_images is uint8 \(6, 64, 64\); an image of it"
    ):
        DATASETS[name].index(tmp_path)


def test_other_numbers_of_labels_than_of_images_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "breastmnist.npz"
    write_npz(path, classes=2, counts=COUNTS)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | {"val_labels": arrays["train_labels"]})
    with pytest.raises(ValueError, match=r"breastmnist\.npz has 6 val_labels for 4 val_images; fetch the file again"):
        DATASETS["breastmnist"].index(tmp_path)


def test_a_file_without_its_arrays_is_named(tmp_path: Path) -> None:
    path = tmp_path / "breastmnist.npz"
    np.savez(path, images=np.zeros(3))
    with pytest.raises(ValueError, match="its array train_labels cannot be read"):
        DATASETS["breastmnist"].index(tmp_path)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("breastmnist", {"train": 546, "val": 78, "test": 156}),
        ("pneumoniamnist", {"train": 4708, "val": 524, "test": 624}),
    ],
)
def test_the_real_files_have_the_published_counts(shared_data: Path, name: str, counts: dict[str, int]) -> None:
    assert DATASETS[name].index(shared_data)["part"].value_counts().to_dict() == counts


def test_breastmnist_has_the_published_number_of_malignant_images(shared_data: Path) -> None:
    assert (DATASETS["breastmnist"].index(shared_data)["label"] == "malignant").sum() == 210  # BUSI's own count
