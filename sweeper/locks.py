"""Locks of files that the kernel keeps and frees however a process dies, and whether another machine sees them.

Who may hold what for how long is the business of those who lock.
"""

import errno
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})


def locked(path: Path, *, seconds: float) -> FileLock:
    """The lock, kept by the kernel: filelock's substitute for systems without, a mere file, would outlive a SIGKILL.

    Raises:
        Timeout: when another has it for so long.
        OSError: where the file system has no locks.
    """
    lock = FileLock(path, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(timeout=seconds)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        remedy = "mount it with locks, or point SWEEPER_STORAGE at a file system that has them"
        raise OSError(error.errno, f"{path.parent} lies on a file system without file locks: {remedy}") from error
    return lock


def is_unlocked(path: Path) -> bool:
    """Whether this process could lock it now."""
    try:
        locked(path, seconds=0).release()
    except Timeout:
        return False
    return True


def kernel() -> str:
    """What tells one running kernel from another: the processes of one see each other's locks for certain."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return boot.read_text().strip() if boot.exists() else socket.gethostname()


@contextmanager
def held(sign: Path) -> Iterator[None]:
    """Two files are locked meanwhile: `sign` as a whole, as drivers do, and its database by ranges, as SQLite does."""
    database = _database(sign)
    lock = locked(sign, seconds=0)
    try:
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            yield
    finally:
        lock.release()
        for path in (sign, database):
            path.unlink(missing_ok=True)


def unseen(sign: Path) -> list[str]:
    """Which of the two that another process or machine holds this one gets all the same; none where locks work."""
    kinds = ("flock",) if is_unlocked(sign) else ()
    return [*kinds, *(("SQLite's",) if _is_open(_database(sign)) else ())]


def _is_open(database: Path) -> bool:
    with closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise
            return False
        return True


def _database(sign: Path) -> Path:
    return sign.with_name(f"{sign.name}.db")
