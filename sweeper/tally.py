"""Whether two machines can keep one SQLite database: both count in one, and nothing may be lost.

Locks do not tell: where a machine goes on with what it has read of a file before, each overwrites what the other wrote.
"""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

_PAUSE_SECONDS = 0.05
_LOCKED_SECONDS = 30.0


def begin(database: Path) -> None:
    """A database in which 0 is counted."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE tally (counted INTEGER)")
        connection.execute("INSERT INTO tally VALUES (0)")


def count(database: Path, times: int) -> int:
    """Counts so many times, by one connection and a transaction each, as MLflow and Optuna write; returns `times`.

    Raises:
        sqlite3.Error: when the database cannot be read or written any more.
    """
    with closing(sqlite3.connect(database, timeout=_LOCKED_SECONDS, isolation_level=None)) as connection:
        for _ in range(times):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE tally SET counted = counted + 1")
            connection.execute("COMMIT")
            time.sleep(_PAUSE_SECONDS)
    return times


def counted(database: Path) -> int:
    """How often was counted in all."""
    with closing(sqlite3.connect(database, timeout=_LOCKED_SECONDS)) as connection:
        return connection.execute("SELECT counted FROM tally").fetchone()[0]
