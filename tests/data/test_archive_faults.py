"""What real archives suffer from, against every data set: each fault is answered in one sentence with its place."""

import shutil
from collections.abc import Callable
from pathlib import Path

import archives
import pytest
from archives import NAMES, TEXTS

from sweeper.data import DATASETS
from sweeper.data.dataset import read_index

fakes = archives.fakes  # pytest finds a fixture by the names of the module
IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".dcm")
ARRAYS = (".npz", ".npy", ".h5")


def _files(root: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return [each for each in root.rglob("*") if each.suffix.lower() in suffixes and each.is_file()]


def images_cut_short(root: Path) -> list[Path]:
    for path in (found := _files(root, IMAGES)):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return found


def texts_in_another_encoding(root: Path) -> list[Path]:
    for path in (found := [each for each in _files(root, TEXTS) if each.suffix != ".xml"]):
        path.write_bytes(path.read_bytes() + "\xe9,\xe9\n".encode("latin-1"))
    return found


def texts_of_nothing(root: Path) -> list[Path]:
    for path in (found := _files(root, TEXTS)):
        path.write_bytes(b"")
    return found


def packed_texts(root: Path) -> list[Path]:
    for path in (found := [each for each in _files(root, TEXTS) if each.suffix != ".xml"]):
        path.write_bytes(b"\x1f\x8b\x08\x00" + bytes(range(128, 160)))
    return found


def folders_for_texts(root: Path) -> list[Path]:
    for path in (found := [each for each in _files(root, TEXTS) if each.suffix != ".xml"]):
        path.unlink()
        path.mkdir()
    return found


def pages_for_arrays(root: Path) -> list[Path]:
    """What a download gives that was refused."""
    for path in (found := _files(root, ARRAYS)):
        path.write_text("<html><body>404</body></html>")
    return found


def arrays_cut_short(root: Path) -> list[Path]:
    for path in (found := _files(root, ARRAYS)):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return found


def an_empty_folder(root: Path) -> list[Path]:
    for path in (found := [each for each in root.iterdir() if each.is_dir()]):
        shutil.rmtree(path)
        path.mkdir()
    return found


def a_file_for_the_folder(root: Path) -> list[Path]:
    for path in (found := [each for each in root.iterdir() if each.is_dir()]):
        shutil.rmtree(path)
        path.write_text("")
    return found


def no_images(root: Path) -> list[Path]:
    for path in (found := _files(root, (*IMAGES, *ARRAYS))):
        path.unlink()
    return found


FAULTS: tuple[Callable[[Path], list[Path]], ...] = (
    images_cut_short, texts_in_another_encoding, texts_of_nothing, packed_texts, folders_for_texts, pages_for_arrays,
    arrays_cut_short, an_empty_folder, a_file_for_the_folder, no_images,
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_is_answered_in_one_sentence_that_names_the_place(
    fault: Callable[[Path], list[Path]], fakes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    answers = {}
    for name in NAMES:
        root = Path(shutil.copytree(fakes / name, tmp_path / name))
        if fault(root) and not _is_beside(name, fault):
            answers[name] = _answer(name, root)
    unfit = {name: told for name, told in answers.items() if not _is_fit(told, name, tmp_path)}
    assert len(answers) >= 3
    assert unfit == {}


def _answer(name: str, root: Path) -> str:
    """What reading the whole set ends in; "" where it does not end."""
    try:
        for image in read_index(DATASETS[name], root)[0]["image"]:
            DATASETS[name].decode(root, image)
    except (ValueError, FileNotFoundError) as error:
        return str(error)
    return ""


def _is_fit(told: str, name: str, folder: Path) -> bool:
    """Whether it is one line with the place or the way to get the set, and the remedy behind a semicolon."""
    placed = str(folder) in told or DATASETS[name].remedy in told
    return placed and "; " in told and "\n" not in told and "pickle" not in told


def _is_beside(name: str, fault: Callable[[Path], list[Path]]) -> bool:
    """Whether it is about files that the set does not read: the licence of the flowers."""
    return name == "flower_photos" and fault not in (
        images_cut_short,
        an_empty_folder,
        a_file_for_the_folder,
        no_images,
    )
