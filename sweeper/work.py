"""What cells in flight leave on disk until the store has it: one folder per cell, whole files only.

A folder that holds `manifest.json` is a trained cell; before that it may hold a training's progress. What is inside the
other files is the business of those who write them, and nothing is recorded in MLflow here.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

MANIFEST = "manifest.json"
CURVE = "curve.json"
"""The epochs so far of a cell in training, for those who look on."""
_DISCARDED = ".discarded"
_MOVED = "+"
_UNFINISHED = ".*.[0-9]*"
"""The names under which `write_whole` writes."""
_HASHED_AT_ONCE = 2**24


def take_over(study: Path, token: int) -> Path:
    """The study's folder of work in flight, for the driver whose lease has this token.

    It is the former driver's folder under a new name: that driver, should it still be awake, and its workers find
    theirs gone, so that nothing they still write can mix with what is written from now on.
    """
    mine = study / f"work-{token}"
    study.mkdir(parents=True, exist_ok=True)
    left = sorted(study.glob("work-*"), key=lambda path: int(path.name.removeprefix("work-")))
    if left and left[-1] != mine:
        left[-1].rename(mine)
    mine.mkdir(exist_ok=True)
    for path in (*left[:-1], *mine.glob(f".*{_DISCARDED}")):
        shutil.rmtree(path, ignore_errors=True)
    for path in sorted(mine.glob(f"[!.]*{_MOVED}[0-9]*"), key=lambda path: int(path.name.split(_MOVED)[1])):
        discard(unmoved(path))  # what a worker out of reach may have begun there
        path.rename(unmoved(path))
    sync(study)
    return mine


def moved(folder: Path, times: int) -> Path:
    """The name of a job's folder after it was taken from so many workers."""
    return folder.with_name(f"{folder.name}{_MOVED}{times}") if times else folder


def unmoved(folder: Path) -> Path:
    """The name that a job's folder had at first."""
    return folder.with_name(folder.name.split(_MOVED)[0])


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file that is there whole or not at all, whatever kills this process or the machine."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}-{os.uname().nodename}")  # hosts have equal pids
    try:
        unfinished.write_bytes(content)
        sync(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    sync(path.parent)


def seal(folder: Path) -> None:
    """Brings a folder's files to the disk and, last of all, writes the manifest that says that they are all there.

    What killed processes left unfinished in it is removed.
    """
    files = {}
    for path in folder.glob(_UNFINISHED):
        path.unlink()
    for path in sorted(each for each in folder.iterdir() if not each.name.startswith(".") and each.name != MANIFEST):
        sync(path)
        files[path.name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    write_whole(folder / MANIFEST, json.dumps({"files": files}, indent=1).encode())


def sealed(work: Path) -> Iterator[Path]:
    """The folders of trained cells that wait to be recorded."""
    yield from sorted(path.parent for path in work.glob(f"[!.]*/{MANIFEST}"))


def discard(folder: Path) -> None:
    """Removes a folder, if it is there, at one instant: a kill in the middle leaves no half of it under its name.

    What such a kill leaves under another name goes when the next driver takes over.
    """
    if folder.exists():
        gone = folder.with_name(f".{folder.name}{_DISCARDED}")
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def damage(folder: Path, *, read: bool) -> list[str]:
    """What is wrong with a sealed folder: its files against its manifest; nothing when it is whole.

    Args:
        read: also hash every file, which finds changed bytes.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return [f"{path} is missing"]
    try:
        files = json.loads(path.read_bytes())["files"]
        known = {folder / name: (each["bytes"], each["sha256"]) for name, each in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return [f"{path} is torn"]
    return [problem for file, values in known.items() for problem in _file_damage(file, *values, read)]


def sha256(path: Path) -> str:
    """64 hex digits of a file's content."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_HASHED_AT_ONCE):
            found.update(piece)
    return found.hexdigest()


def sync(path: Path) -> None:
    """Brings a file or a folder's entries to the disk, so that a power cut cannot leave it hollow."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def now_in(folder: Path) -> float:
    """The present by the clock of the folder's file system, in seconds; by the machine's own where it has none."""
    with tempfile.TemporaryFile(dir=folder, prefix="now-") as mine:
        mine.write(b"1")  # GlusterFS 10 cannot set the time of a file without a name, but a kill leaves none
        mine.flush()
        return os.fstat(mine.fileno()).st_mtime


def _file_damage(path: Path, size: int, content: str, read: bool) -> Iterator[str]:
    if not path.is_file():
        yield f"{path} is missing"
    elif path.stat().st_size != size:
        yield f"{path} has {path.stat().st_size} bytes instead of {size}"
    elif read and sha256(path) != content:
        yield f"{path} has other bytes than were written"
