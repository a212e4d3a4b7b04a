"""What lies beside the images of real archives, and how they are packed, changes nothing that is read of any set."""

import csv
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import archives
import pandas as pd
import pytest
from archives import NAMES, TEXTS
from fakes import draw

from sweeper.data import DATASETS

fakes = archives.fakes  # pytest finds a fixture by the names of the module
Deed = Callable[[Path], object]


def _folders(root: Path) -> list[Path]:
    return [each for each in root.rglob("*") if each.is_dir()]


def files_of_other_systems(root: Path) -> None:
    for folder in _folders(root):
        images = [each.name for each in folder.iterdir() if each.is_file()][:2]
        for name in (".DS_Store", "Thumbs.db", "desktop.ini", *(f"._{each}" for each in images)):
            (folder / name).write_bytes(b"\x00\x05\x16\x07")


def folders_of_other_systems(root: Path) -> None:
    for folder in _folders(root):
        for name in ("__MACOSX", ".ipynb_checkpoints", "@eaDir"):
            draw(folder / name / "more" / "image.png", 1)
            (folder / name / "._1.npy").write_bytes(b"\x00\x05\x16\x07")


def notes_and_tables(root: Path) -> None:
    for folder in _folders(root):
        for name in ("README.md", "license.txt", "other.csv", "SHA256SUMS"):
            (folder / name).write_text("nothing,of\nthe,set\n")


def a_folder_in_a_folder_of_its_name(root: Path) -> None:
    for folder in [each for each in root.iterdir() if each.is_dir() and each.name != "medmnist"]:  # that holds sets
        inner = folder.with_name(f"{folder.name}.inner")
        folder.rename(inner)
        folder.mkdir()
        inner.rename(folder / folder.name)


def ends_of_lines_as_on_windows(root: Path) -> None:
    for path in _texts(root):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n\r\n")


def rows_in_another_order(root: Path) -> None:
    for path in _texts(root):
        if path.suffix != ".csv" or "_meta" in path.name:  # the rows of those are told by their places
            continue
        with path.open(newline="") as file:
            first, *rows = csv.reader(file)
        rows = [first, *rows][::-1] if path.parent.name == "MRNet-v1.0" else [first, *rows[::-1]]
        with path.open("w", newline="") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)


def links_to_everything(root: Path) -> None:
    apart = root.with_name(f"{root.name}.apart")
    root.rename(apart)
    shutil.copytree(apart, root, copy_function=os.symlink)


def an_archive_that_cannot_be_written(root: Path) -> None:
    for each in [root, *root.rglob("*")]:
        each.chmod(0o555 if each.is_dir() else 0o444)


DEEDS: tuple[Deed, ...] = (
    files_of_other_systems, folders_of_other_systems, notes_and_tables, a_folder_in_a_folder_of_its_name,
    ends_of_lines_as_on_windows, rows_in_another_order, links_to_everything, an_archive_that_cannot_be_written,
)  # fmt: skip


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_the_same_images_are_read(deed: Deed, fakes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in NAMES:
        root = Path(shutil.copytree(fakes / name, tmp_path / "Bilder der Größe 1" / name))
        deed(root)
        pd.testing.assert_frame_equal(DATASETS[name].index(root), DATASETS[name].index(fakes / name), obj=name)
        image = DATASETS[name].index(root)["image"].iloc[-1]
        assert (DATASETS[name].decode(root, image) == DATASETS[name].decode(fakes / name, image)).all()


def _texts(root: Path) -> list[Path]:
    return [each for each in root.rglob("*") if each.suffix in TEXTS and each.suffix != ".xml"]
