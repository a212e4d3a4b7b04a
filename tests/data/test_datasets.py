"""One shared test over every data set of the table, and the table's own manners."""

import pickle
import re
import subprocess
import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from fakes import SAME_FILES, draw, write_fake

from sweeper.data import DATASETS, Dataset, UnknownDatasetError, task_of
from sweeper.data.dataset import COLUMNS, Metric, make_index, read_index, target_columns
from sweeper.data.labels import named_in, texts_of

NAMES = sorted(DATASETS)
ON_DISK = [name for name in NAMES if not DATASETS[name].packaged]
DECODED = 100
"""Images of a set that are decoded, at most."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for name in sorted({SAME_FILES.get(name, name) for name in NAMES}):
        write_fake(name, root)
    return root


@lru_cache(maxsize=1)
def index_of(name: str, root: Path) -> pd.DataFrame:
    return DATASETS[name].index(root)


def some_of(name: str, root: Path) -> list[str]:
    """Images from the first to the last, evenly spaced."""
    images = list(index_of(name, root)["image"])
    return images[:: -(-len(images) // DECODED)]


@pytest.mark.parametrize("name", NAMES)
class TestEveryDataset:
    def test_the_index_has_one_string_column_per_fact(self, name: str, root: Path) -> None:
        index = index_of(name, root)
        assert tuple(index.columns) == COLUMNS
        assert set(index.dtypes.astype(str)) == {"str"}

    def test_no_image_is_named_twice(self, name: str, root: Path) -> None:
        assert index_of(name, root)["image"].is_unique

    def test_every_class_has_images_and_every_label_is_a_class(self, name: str, root: Path) -> None:
        index, classes = read_index(DATASETS[name], root)
        assert (named_in(index["label"]) if DATASETS[name].task else set(index["label"])) == set(classes)

    def test_targets_count_the_classes_from_zero(self, name: str, root: Path) -> None:
        index, classes = read_index(DATASETS[name], root)
        if DATASETS[name].task is None:
            assert [classes[target] for target in index["target"]] == list(index["label"])
        else:
            assert list(texts_of(index[target_columns(classes)].to_numpy(), classes)) == list(index["label"])

    def test_parts_are_official_or_missing_altogether(self, name: str, root: Path) -> None:
        parts = index_of(name, root)["part"]
        assert parts.isna().all() or {"train", "test"} <= set(parts) <= {"train", "val", "test"}

    def test_every_image_shows_a_patient(self, name: str, root: Path) -> None:
        assert (index_of(name, root)["patient"] != "").all()

    def test_every_image_decodes_to_uint8_with_its_channels(self, name: str, root: Path) -> None:
        for image in some_of(name, root):
            pixels = DATASETS[name].decode(root, image)
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
            assert pixels.shape[2] == DATASETS[name].channels

    def test_no_two_images_are_equal(self, name: str, root: Path) -> None:
        images = [DATASETS[name].decode(root, image).tobytes() for image in some_of(name, root)]
        assert len(set(images)) == len(images)

    def test_counts_are_of_its_classes(self, name: str, root: Path) -> None:
        dataset = DATASETS[name]
        assert not dataset.counts or tuple(sorted(dataset.counts)) == tuple(sorted(dataset.classes or ()))

    def test_it_goes_to_another_process(self, name: str, root: Path) -> None:
        assert pickle.loads(pickle.dumps(DATASETS[name])).name == name

    def test_it_is_documented(self, name: str, root: Path) -> None:
        dataset = DATASETS[name]
        assert dataset.name == name
        assert dataset.cite
        assert dataset.licence
        assert dataset.remedy
        assert dataset.patients
        assert dataset.url
        assert dataset.metric in get_args(Metric)


@pytest.mark.parametrize("name", ON_DISK)
class TestEveryDatasetOnDisk:
    @pytest.fixture
    def message(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        with pytest.raises(FileNotFoundError) as error:
            DATASETS[name].index(tmp_path / "nowhere")
        return str(error.value)

    def test_a_missing_set_says_where_it_was_looked_for(self, name: str, message: str, tmp_path: Path) -> None:
        assert str(tmp_path / "nowhere") in message

    def test_a_missing_set_says_how_to_get_it(self, name: str, message: str) -> None:
        assert DATASETS[name].remedy in message
        assert "SWEEPER_DATA" in message

    def test_the_source_text_changes_when_a_file_is_written_again(self, name: str, tmp_path: Path) -> None:
        write_fake(name, tmp_path)
        dataset = DATASETS[name]
        images = list(dataset.index(tmp_path)["image"])
        before = dataset.sources(tmp_path, images)
        for file in (each for each in tmp_path.rglob("*") if each.is_file()):
            file.write_bytes(file.read_bytes() + b"\0")
        assert dataset.sources(tmp_path, images) != before


@pytest.mark.parametrize("name", sorted({*NAMES} - {*ON_DISK}))
def test_a_packaged_set_needs_no_data_folder(name: str, tmp_path: Path) -> None:
    assert len(read_index(DATASETS[name], tmp_path / "nowhere")[0])


def test_the_digits_are_scikit_learns_own_scaled_to_255() -> None:
    from sklearn.datasets import load_digits

    digits = load_digits().images
    decoded = np.stack([DATASETS["digits"].decode(Path(), f"{number:04d}")[:, :, 0] for number in range(len(digits))])
    np.testing.assert_allclose(decoded, digits * 255 / 16, atol=0.5)


def test_the_two_halves_of_the_digits_share_no_image_and_make_the_whole() -> None:
    low, high, whole = (set(DATASETS[name].index(Path())["image"]) for name in ("digits_0_4", "digits_5_9", "digits"))
    assert not low & high
    assert low | high == whole


def test_busi_skips_masks(root: Path) -> None:
    assert not DATASETS["busi"].index(root)["image"].str.contains("mask").any()


@pytest.mark.parametrize(
    "name", ["benign (1)_msk.png", "mask_benign (1).png", "benign (1)_mask_a.png", "benign (1)_MASK.png"]
)
@pytest.mark.parametrize("dataset", ["busi", "busi3"])
def test_busi_refuses_what_may_be_a_mask_or_an_image(dataset: str, name: str, tmp_path: Path) -> None:
    write_fake("busi", tmp_path)
    odd = draw(tmp_path / "Dataset_BUSI_with_GT" / "benign" / name, 1)
    with pytest.raises(ValueError, match=rf"image {re.escape(str(odd))} is called neither as an image"):
        DATASETS[dataset].index(tmp_path)


def test_busi_counts_normal_images_as_benign(root: Path) -> None:
    index = DATASETS["busi"].index(root)
    assert set(index["label"][index["image"].str.startswith("normal/")]) == {"benign"}


def test_busi_of_the_excerpt_has_ten_images_a_folder(shared_data: Path) -> None:
    index = DATASETS["busi"].index(shared_data)
    assert index["label"].value_counts().to_dict() == {"benign": 20, "malignant": 10}


def test_flower_photos_are_all_found(shared_data: Path) -> None:
    assert len(DATASETS["flower_photos"].index(shared_data)) == 3475


def test_medical_mnist_may_lie_in_the_folder_of_its_archive(tmp_path: Path) -> None:
    write_fake("medical_mnist_64", tmp_path)
    (tmp_path / "medical_mnist_64").rename(tmp_path / "MedNIST")
    assert DATASETS["medical_mnist_64"].index(tmp_path)["label"].nunique() == 6


def test_medical_mnist_is_all_found(shared_data: Path) -> None:
    counts = DATASETS["medical_mnist_64"].index(shared_data)["label"].value_counts()
    assert len(counts) == 6
    assert set(counts) == {1000}


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownDatasetError, match=r"^data set 'brestmnist' is unknown; did you mean breastmnist"):
        DATASETS["brestmnist"]


def test_an_unknown_name_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        DATASETS["nothing like it"]


@pytest.mark.parametrize("name", ["folder:some/where", "table:some/where.csv"])
def test_a_folder_and_a_table_are_in_the_table_under_any_path(name: str) -> None:
    assert name in DATASETS
    assert DATASETS[name].name == name


def test_another_name_is_not_in_the_table() -> None:
    assert "somewhere" not in DATASETS


@pytest.mark.parametrize(("name", "what"), [("folder:", "names no folder"), ("table:", "names no file")])
def test_a_name_without_path_is_refused(name: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        DATASETS[name]


PUBLISHED = {
    "aptos2019": 3662, "bloodmnist": 17092, "busi": 780, "busi3": 780, "cbis_ddsm": 3103, "chest_xray": 5856,
    "ddti": 480, "ddti_graded": 349, "dermamnist": 10015, "digits": 1797, "flower_photos": 3670, "ham10000": 10015,
    "isic2018": 10015, "isic2019": 25331, "kimia960": 960, "medical_mnist_64": 58954, "pathmnist": 107180,
}  # fmt: skip
"""Images of the whole set, as its publication tells them."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_counts_of_the_classes_add_up_to_the_published_number(name: str) -> None:
    assert sum(DATASETS[name].counts.values()) == PUBLISHED[name]


def test_two_classes_are_binary_and_three_are_not() -> None:
    assert (task_of(("a", "b")), task_of(("a", "b", "c"))) == ("binary", "multiclass")


def _with(rows: list[tuple[str, str, str, str | None]]) -> Dataset:
    return replace(DATASETS["digits"], name="fake", classes=("a", "b"), index=lambda root: make_index(rows))


def test_an_image_named_twice_is_refused() -> None:
    rows = [("1", "a", "1", None), ("1", "b", "1", None)]
    with pytest.raises(ValueError, match=r"'fake': 1 image names stand twice \(first: '1'\)"):
        read_index(_with(rows), Path())


def test_a_label_that_is_no_class_is_refused() -> None:
    rows = [("1", "a", "1", None), ("2", "b", "2", None), ("3", "c", "3", None)]
    with pytest.raises(ValueError, match=r"none of a, b \(first: 'c'\)"):
        read_index(_with(rows), Path())


def test_a_class_without_image_is_refused() -> None:
    with pytest.raises(ValueError, match="class 'b' has no image"):
        read_index(_with([("1", "a", "1", None)]), Path())


def test_an_official_split_must_place_every_image() -> None:
    rows = [("1", "a", "1", "train"), ("2", "b", "2", None)]
    with pytest.raises(ValueError, match=r"1 images are in none of the parts train, val, test \(first: '2'\)"):
        read_index(_with(rows), Path())


def test_the_table_loads_without_the_heavy_packages() -> None:
    heavy = ["torch", "torchvision", "timm", "sklearn", "ray", "mlflow", "pandas", "numpy", "h5py", "pydicom", "PIL"]
    program = f"import sys, sweeper.data; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
