"""Whether a folder can hold a study, found out by doing there, in a folder of its own, what a study's files need.

No file system is known by its name. Whether locks reach other machines is `locks`' and `lease`'s business.
"""

import errno
import os
import sqlite3
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from glob import iglob
from pathlib import Path

from sweeper import lease
from sweeper.locks import is_unlocked, locked
from sweeper.site import Site
from sweeper.work import now_in, write_whole

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def refuse_unfit(storage: Path) -> None:
    """Passes where everything that a study does with its storage can be done; makes the folder if it is not there.

    Raises:
        OSError: naming each thing that cannot be done, or when nothing can be written there.
    """
    try:
        storage.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=storage, prefix=".trying-", ignore_cleanup_errors=True)
    except OSError as error:
        raise OSError(error.errno, f"storage {storage} cannot be written ({error.strerror})") from error
    with scratch as folder:
        faults = [fault for what, tried in _TRIALS.items() if (fault := _fault(what, tried, Path(folder)))]
    if faults:
        raise OSError(
            f"storage {storage} cannot hold a study, because work would be lost there: {'; '.join(faults)}: set "
            "SWEEPER_STORAGE to a local disk or a file system that can do this (a bucket may hold SWEEPER_DATA)"
        )


def refuse_unshared(site: Site, say: Callable[[str], None] = print) -> None:
    """Passes unless a driver on another machine uses the storage now, and its locks do not reach this one.

    Asked before SQLite is: it takes a transaction of such a driver for one that a kill left, and undoes it. Where a
    server keeps the record, or one may only read, nothing is asked.

    Raises:
        OSError: naming the study and its driver.
    """
    if site.tracking.startswith("sqlite:") and os.access(site.storage, os.W_OK):
        for name in sorted(iglob("*/lease.json", root_dir=site.study(""))):
            lease.refuse_unshared((site.study("") / name).parent, say)


def _fault(what: str, tried: Callable[[Path], str | None], folder: Path) -> str | None:
    """What is wrong with one of the operations; a full disk is no fault of them."""
    try:
        return tried(folder)
    except (OSError, sqlite3.Error) as error:
        if isinstance(error, sqlite3.Error) or error.errno is None:
            return f"{what} fails ({error})"
        if error.errno in _FULL:
            raise
        return f"{what} fails ({os.strerror(error.errno)})"


def _replace(folder: Path) -> str | None:
    """Every file of a study is written so: the record of what is done must never be half a file."""
    path = folder / "whole"
    write_whole(path, b"former")
    write_whole(path, b"new")
    return None if path.read_bytes() == b"new" else "a file that was replaced still has its former content"


def _take_away(folder: Path) -> str | None:
    """The next driver takes the folder of work from one that sleeps, whose workers may be in the middle of a file."""
    former, taken = folder / "former", folder / "taken"
    former.mkdir()
    with (former / "file").open("wb", buffering=0) as file:
        file.write(b"before")
        former.rename(taken)
        file.write(b", after")
    if former.exists() or (taken / "file").read_bytes() != b"before, after":
        return "a file that is written while its folder is renamed comes back under the former name, or is lost"
    try:
        write_whole(former / "late", b"late")
    except FileNotFoundError:
        return None
    return "a file can be written in a folder that was renamed, under the former name"


def _lock(folder: Path) -> str | None:
    """One driver at a time runs a study."""
    lock = locked(folder / "lock", seconds=0)
    try:
        return "two processes get one lock at once" if is_unlocked(folder / "lock") else None
    finally:
        lock.release()


def _date(folder: Path) -> str | None:
    """The heartbeat by which others know a driver that lives."""
    beat = folder / "beat"
    beat.touch()
    os.utime(beat, (0, 0))
    os.utime(beat)
    silent = now_in(folder) - beat.stat().st_mtime
    return None if abs(silent) < lease.EXPIRY_SECONDS else f"a file that was touched a moment ago is {silent:.0f} s old"


def _record(folder: Path) -> str | None:
    """MLflow's record without a server, and rate searches."""
    database = folder / "record.db"
    with closing(sqlite3.connect(database, timeout=0)) as connection, connection:
        connection.execute("CREATE TABLE rows (value INTEGER)")
        connection.execute("INSERT INTO rows VALUES (1)")
    with closing(sqlite3.connect(database, timeout=0)) as connection:
        found = connection.execute("SELECT value FROM rows").fetchall()
    return None if found == [(1,)] else "a row recorded by SQLite is not there"


_TRIALS: Mapping[str, Callable[[Path], str | None]] = {
    "replacing a file": _replace,
    "renaming a folder in use": _take_away,
    "locking a file": _lock,
    "touching a file": _date,
    "SQLite": _record,
}
