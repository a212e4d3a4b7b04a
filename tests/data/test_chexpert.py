"""CheXpert: what becomes of blanks and uncertain entries, its subsets, and its paths."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fakes import write_fake
from fakes.chexpert import OBSERVATIONS

from sweeper.data import DATASETS
from sweeper.data.chexpert import CHEXPERT
from sweeper.data.dataset import read_index, target_columns

BASE = "CheXpert-v1.0-small"
EMPTY = "train/patient00016/study1/view1_frontal.jpg"
DOUBTED = "train/patient00015/study1/view1_frontal.jpg"
"""With an uncertain Edema and nothing else."""
CERTAIN = "train/patient00001/study1/view1_frontal.jpg"
"""With a No Finding, an uncertain Enlarged Cardiomediastinum and no Cardiomegaly."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_fake("chexpert", tmp_path)
    return tmp_path


def label(name: str, root: Path, image: str) -> str:
    return DATASETS[name].index(root).set_index("image")["label"][image]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chexpert_u_zeros", "No Finding"),
        ("chexpert_u_ones", "No Finding|Enlarged Cardiomediastinum"),
        ("chexpert_u_ignore", "No Finding|?Enlarged Cardiomediastinum"),
    ],
)
def test_an_uncertain_observation_is_absent_present_or_not_known(root: Path, name: str, expected: str) -> None:
    assert label(name, root, CERTAIN) == expected


@pytest.mark.parametrize("image", [EMPTY, DOUBTED])
def test_with_zeros_an_image_of_which_nothing_is_left_gets_no_finding(root: Path, image: str) -> None:
    assert label("chexpert_u_zeros", root, image) == "No Finding"


@pytest.mark.parametrize(
    ("name", "expected"), [("chexpert_u_ones", ("", "Edema")), ("chexpert_u_ignore", ("", "?Edema"))]
)
def test_otherwise_it_does_not(root: Path, name: str, expected: tuple[str, str]) -> None:
    assert (label(name, root, EMPTY), label(name, root, DOUBTED)) == expected


@pytest.mark.parametrize(("name", "value"), [("u_zeros", 0), ("u_ones", 1), ("u_ignore", -1)])
def test_the_targets_are_the_tables_with_the_uncertain_replaced(root: Path, name: str, value: int) -> None:
    table = pd.read_csv(root / BASE / "train.csv").set_index("Path")
    expected = table[list(OBSERVATIONS)].fillna(0).replace(-1, value)
    index, classes = read_index(DATASETS[f"chexpert_{name}"], root)
    found = index[index["part"] == "train"].set_index("image")[target_columns(classes)]
    if name == "u_zeros":  # where nothing is left No Finding is 1, which the test above is about
        expected, found = expected.iloc[:, 1:], found.iloc[:, 1:]
    expected = expected.set_axis(expected.index.str.removeprefix(f"{BASE}/")).loc[found.index]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        (
            "low",
            "Lung Opacity,Edema,Consolidation,Pneumonia,Atelectasis,Pleural Effusion,Pleural Other",
        ),
        (
            "high",
            "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Lesion,Pneumothorax,Fracture,Support Devices",
        ),
        ("five", "Cardiomegaly,Edema,Consolidation,Atelectasis,Pleural Effusion"),
    ],
)
def test_a_subset_has_the_studys_observations(name: str, classes: str) -> None:
    assert DATASETS[f"chexpert_{name}_u_ones"].classes == tuple(classes.split(","))


def test_low_and_high_share_nothing_and_make_the_whole() -> None:
    low, high = (set(DATASETS[f"chexpert_{name}_u_ones"].classes or ()) for name in ("low", "high"))
    assert not low & high
    assert low | high == set(OBSERVATIONS)


def test_a_subset_has_the_columns_of_the_whole(root: Path) -> None:
    whole, classes = read_index(DATASETS["chexpert_u_ignore"], root)
    part, some = read_index(DATASETS["chexpert_low_u_ignore"], root)
    columns = [target_columns(classes)[classes.index(each)] for each in some]
    np.testing.assert_array_equal(part[target_columns(some)], whole[columns])


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_one_observation_alone_is_binary_and_present_where_it_may_be(root: Path, observation: str) -> None:
    name = observation.lower()
    index, classes = read_index(DATASETS[f"chexpert_{name.replace(' ', '_')}"], root)
    whole, all_classes = read_index(DATASETS["chexpert_u_ones"], root)
    assert classes == (f"no {name}", name)
    np.testing.assert_array_equal(index["target"], whole[f"target_{all_classes.index(observation)}"])


def test_the_radiologists_studies_are_the_test_part(root: Path) -> None:
    index = DATASETS["chexpert_u_zeros"].index(root)
    assert set(index["patient"][index["part"] == "test"]) == {"patient64541", "patient64542"}
    assert set(index["part"]) == {"train", "test"}


def test_the_views_of_a_study_show_one_patient(root: Path) -> None:
    patients = DATASETS["chexpert_u_zeros"].index(root).set_index("image")["patient"]
    assert patients["train/patient00002/study1/view2_lateral.jpg"] == "patient00002"


@pytest.mark.parametrize("folder", ["CheXpert-v1.0", "CheXpert"])
def test_the_folder_may_have_another_name_than_the_paths_begin_with(root: Path, folder: str) -> None:
    (root / BASE).rename(root / folder)
    dataset = DATASETS["chexpert_u_zeros"]
    assert all(dataset.decode(root, image).size for image in dataset.index(root)["image"])


def test_a_missing_image_is_counted_and_named(root: Path) -> None:
    (root / BASE / CERTAIN).unlink()
    with pytest.raises(FileNotFoundError, match=rf"^1 files that train\.csv and valid\.csv names .*{CERTAIN}\)"):
        DATASETS["chexpert_u_zeros"].index(root)


def _change(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


def test_another_value_is_refused(root: Path) -> None:
    _change(root / BASE / "train.csv", "-1.0", "2.0")
    with pytest.raises(ValueError, match=r"1 rows have another Enlarged Cardiomediastinum than 1, 0, -1 or nothing"):
        DATASETS["chexpert_u_zeros"].index(root)


def test_a_path_without_patient_is_refused(root: Path) -> None:
    _change(root / BASE / "train.csv", "patient00001", "someone")
    with pytest.raises(ValueError, match=r"1 paths name no patient \(first: 'CheXpert-v1\.0-small/train/someone/"):
        DATASETS["chexpert_u_zeros"].index(root)


def test_a_column_that_is_not_there_is_named(root: Path) -> None:
    _change(root / BASE / "valid.csv", "Pleural Other", "Pleural")
    with pytest.raises(ValueError, match=r"valid\.csv has no column 'Pleural Other'"):
        DATASETS["chexpert_u_zeros"].index(root)


def test_every_set_has_a_name_of_its_own() -> None:
    assert len({each.name for each in CHEXPERT}) == len(CHEXPERT) == 4 * 3 + 14
