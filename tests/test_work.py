"""Folders of work in flight, written by processes that are killed, read through real files."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweeper.work import MANIFEST, damage, discard, seal, sealed, sha256, take_over, write_whole

REWRITE = """
import itertools, sys
from pathlib import Path
from sweeper.work import write_whole
path, size = Path(sys.argv[1]), int(sys.argv[2])
print("go", flush=True)
for number in itertools.count():
    write_whole(path, bytes([number % 251]) * size)
"""
SIZE = 2_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sealed cell of three files."""
    path = tmp_path / "cell"
    path.mkdir()
    for name, size in (("best.safetensors", 5000), ("outcome.json", 300), ("empty", 0)):
        (path / name).write_bytes(random.Random(name).randbytes(size))
    seal(path)
    return path


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def is_whole(content: bytes) -> bool:
    return len(content) == SIZE and content == content[:1] * SIZE


def test_what_a_killed_writer_leaves_is_one_of_the_whole_contents(tmp_path: Path) -> None:
    path, draws = tmp_path / "state", random.Random(0)
    write_whole(path, bytes(SIZE))
    seen = 0
    for _ in range(12):
        writer = subprocess.Popen([sys.executable, "-c", REWRITE, str(path), str(SIZE)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        end = time.monotonic() + draws.uniform(0, 0.1)
        while time.monotonic() < end:  # a reader at any moment
            assert is_whole(path.read_bytes())
            seen += 1
        writer.kill()
        writer.communicate()
        assert is_whole(path.read_bytes())
    assert seen


def test_a_writer_that_fails_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_whole(path, b"old")
    with pytest.raises(TypeError):
        write_whole(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_whole_folder_has_no_damage(folder: Path) -> None:
    assert damage(folder, read=True) == []


def test_the_manifest_holds_the_hash_that_sha256sum_finds(folder: Path) -> None:
    told = subprocess.run(["sha256sum", folder / "best.safetensors"], capture_output=True, text=True, check=True).stdout
    files = json.loads((folder / MANIFEST).read_text())["files"]
    assert files["best.safetensors"] == {"bytes": 5000, "sha256": told.split()[0]}
    assert sha256(folder / "best.safetensors") == told.split()[0]


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "empty").unlink()
    assert damage(folder, read=False) == [f"{folder / 'empty'} is missing"]


def test_a_shorter_file_is_named_with_both_sizes(folder: Path) -> None:
    with (folder / "best.safetensors").open("r+b") as file:
        file.truncate(4999)
    assert damage(folder, read=False) == [f"{folder / 'best.safetensors'} has 4999 bytes instead of 5000"]


def test_a_flipped_bit_is_found_by_reading(folder: Path) -> None:
    flip(folder / "best.safetensors", 12345)
    assert damage(folder, read=True) == [f"{folder / 'best.safetensors'} has other bytes than were written"]


def test_a_flipped_bit_is_not_looked_for_without_reading(folder: Path) -> None:
    flip(folder / "best.safetensors", 12345)
    assert damage(folder, read=False) == []


def test_every_damaged_file_is_named(folder: Path) -> None:
    (folder / "empty").unlink()
    flip(folder / "outcome.json", 0)
    assert len(damage(folder, read=True)) == 2


def test_a_folder_without_a_manifest_is_not_whole(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    assert damage(folder, read=False) == [f"{folder / MANIFEST} is missing"]


def test_a_manifest_torn_anywhere_is_found(folder: Path) -> None:
    whole = (folder / MANIFEST).read_bytes()
    for length in range(len(whole)):
        (folder / MANIFEST).write_bytes(whole[:length])
        assert damage(folder, read=False) == [f"{folder / MANIFEST} is torn"]


def test_a_manifest_with_any_bit_flipped_is_found(folder: Path) -> None:
    whole = (folder / MANIFEST).read_bytes()
    for bit in range(8 * len(whole)):
        (folder / MANIFEST).write_bytes(whole)
        flip(folder / MANIFEST, bit)
        assert damage(folder, read=True), bit


def test_only_sealed_folders_wait_to_be_recorded(folder: Path) -> None:
    (folder.parent / "begun").mkdir()
    (folder.parent / "begun" / "progress.pt").write_bytes(b"half")
    assert list(sealed(folder.parent)) == [folder]


def test_what_a_killed_writer_left_unfinished_is_not_sealed(tmp_path: Path) -> None:
    (tmp_path / ".progress.pt.1234").write_bytes(b"half")
    (tmp_path / "best").write_bytes(b"whole")
    seal(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"best", MANIFEST}


def test_the_first_driver_starts_with_an_empty_folder(tmp_path: Path) -> None:
    work = take_over(tmp_path / "study", 1)
    assert work.is_dir()
    assert list(work.iterdir()) == []


def test_the_next_driver_finds_the_files_of_the_former_one(tmp_path: Path) -> None:
    (take_over(tmp_path, 1) / "cell").write_bytes(b"epoch 3")
    assert (take_over(tmp_path, 2) / "cell").read_bytes() == b"epoch 3"


def test_a_driver_that_lost_its_study_cannot_write_any_more(tmp_path: Path) -> None:
    old = take_over(tmp_path, 1)
    (old / "cell").mkdir()
    write_whole(old / "cell" / "progress.pt", b"epoch 3")
    new = take_over(tmp_path, 2)
    with pytest.raises(FileNotFoundError):
        write_whole(old / "cell" / "progress.pt", b"epoch 4")
    with pytest.raises(FileNotFoundError):
        (old / "other").mkdir(exist_ok=True)
    assert (new / "cell" / "progress.pt").read_bytes() == b"epoch 3"


def test_tokens_are_ordered_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "work-2").mkdir()
    (tmp_path / "work-10").mkdir()
    (tmp_path / "work-10" / "cell").write_bytes(b"newest")
    assert (take_over(tmp_path, 11) / "cell").read_bytes() == b"newest"
    assert [path.name for path in tmp_path.iterdir()] == ["work-11"]


def test_what_a_sleeper_made_under_its_old_name_does_not_come_back(tmp_path: Path) -> None:
    take_over(tmp_path, 1)
    (take_over(tmp_path, 2) / "cell").write_bytes(b"epoch 3")
    (tmp_path / "work-1").mkdir()
    (tmp_path / "work-1" / "cell").write_bytes(b"epoch 1")
    assert (take_over(tmp_path, 3) / "cell").read_bytes() == b"epoch 3"
    assert [path.name for path in tmp_path.iterdir()] == ["work-3"]


@pytest.mark.parametrize("older", [False, True])
def test_taking_over_again_loses_nothing(tmp_path: Path, older: bool) -> None:
    (take_over(tmp_path, 2) / "cell").write_bytes(b"epoch 3")
    if older:
        (tmp_path / "work-1").mkdir()
    for _ in range(3):
        assert (take_over(tmp_path, 2) / "cell").read_bytes() == b"epoch 3"


def test_a_discarded_folder_is_gone(folder: Path) -> None:
    discard(folder)
    assert list(folder.parent.iterdir()) == []


def test_discarding_what_is_not_there_does_nothing(tmp_path: Path) -> None:
    discard(tmp_path / "cell")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_whose_removal_was_killed_does_not_wait_to_be_recorded(tmp_path: Path) -> None:
    """Half removed: the manifest is still there, the outcome is not."""
    study = tmp_path / "study"
    half = take_over(study, 1) / ".cell.discarded"
    half.mkdir()
    (half / "best").write_bytes(b"state")
    seal(half)
    assert list(sealed(half.parent)) == []
    assert list(take_over(study, 2).iterdir()) == []
