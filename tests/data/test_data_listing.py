"""The list that `python -m sweeper.data` prints, of sets written here."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from commanded import data_folder, row_of, said
from fakes import write_classes, write_fake, write_npz

from sweeper.data import DATASETS


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return data_folder(tmp_path, monkeypatch)


def test_every_name_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    names = {line.split()[0] for line in said(capsys, "--all", code=0).splitlines() if line.strip()}
    assert set(DATASETS) <= names


def test_a_set_that_is_there_is_present_with_its_images(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_fake("busi", data)
    assert row_of(said(capsys, code=0), "busi")[:3] == ["busi", "present", "18"]


def test_its_size_is_that_of_the_files_of_its_images(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_classes(data / "flower_photos", dict.fromkeys(("daisy", "dandelion", "roses", "sunflowers", "tulips"), 2))
    size = sum(file.stat().st_size for file in data.rglob("*.png"))
    assert row_of(said(capsys, code=0), "flower_photos")[3] == f"{size / 1000:.1f} kB"


def test_the_sizes_of_a_medmnist_member_are_one_line(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, size in (("breastmnist", 28), ("breastmnist_64", 64)):
        write_npz(data / "medmnist" / f"{name}.npz", classes=2, counts={"train": 4, "val": 4, "test": 4}, size=size)
    text = said(capsys, code=0)
    assert row_of(text, "breastmnist")[1] == "present (28, 64 pixels)"
    assert "breastmnist_64" not in text


def test_missing_sets_of_one_archive_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, code=0)
    assert row_of(text, "pcam")[1] == "missing (and 2 more of its archive)"
    assert "pcam_small" not in text


def test_present_sets_of_one_archive_are_a_line_each(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_fake("busi", data)
    text = said(capsys, code=0)
    assert [row_of(text, name)[1] for name in ("busi", "busi3")] == ["present", "present"]


def test_a_missing_set_says_where_it_was_looked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert "\npcam, pcam_small, pcam_middle\n  looked for pcam, PCam," in said(capsys, "--missing", code=0)


def test_a_missing_set_says_how_to_get_it(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--missing", code=0)
    missing = [name for name in DATASETS if "mnist" not in name and not name.startswith("digits")]
    assert [name for name in missing if f"to get it: {DATASETS[name].remedy}" not in text] == []


def test_an_index_that_cannot_be_read_is_one_sentence(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_classes(data / "Dataset_BUSI_with_GT", {"benign": 1, "malignant": 1})
    text = said(capsys, code=0)
    assert row_of(text, "busi")[1] == "broken"
    assert re.search(r"^busi is broken: .* has no class folder 'normal'", text, re.MULTILINE)


def test_an_archive_without_some_of_its_files_is_incomplete(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_fake("aptos2019", data)
    next(data.rglob("train_images/*.png")).unlink()
    text = said(capsys, code=0)
    assert row_of(text, "aptos2019")[1] == "incomplete"
    assert re.search(r"^aptos2019 is incomplete: 1 files that .* are not there", text, re.MULTILINE)


def test_torch_is_not_imported() -> None:
    called = "from sweeper.data.__main__ import main; main([]); main(['digits_0_4'])"
    code = f"import sys; {called}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0
