"""Two processes count in one database, as two machines have it by real file systems: who loses what the other wrote."""

import sqlite3
import subprocess
import sys
from pathlib import Path

from mounted import by_gluster, by_ssh

from sweeper.tally import begin, count, counted

COUNT = "import sys; from pathlib import Path; from sweeper.tally import count; count(Path(sys.argv[1]), 5)"


def lost(one: Path, other: Path) -> int:
    """How many of the transactions of two processes, of which each has the database under its own name, are lost."""
    begin(one)
    times = 0
    with subprocess.Popen([sys.executable, "-c", COUNT, str(other)], stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            times += count(one, 1)
        _, said = process.communicate()
    if process.returncode:
        raise sqlite3.OperationalError(said.splitlines()[-1])
    return times + 5 - counted(one)


def test_two_processes_of_one_machine_lose_nothing(tmp_path: Path) -> None:
    assert lost(tmp_path / "tally.db", tmp_path / "tally.db") == 0


def test_two_machines_lose_transactions_where_each_trusts_what_it_has_read_before(tmp_path: Path) -> None:
    """GlusterFS shares locks, and by itself lets the kernel of each machine keep what it read."""
    with by_gluster(tmp_path / "mounts") as (one, other):
        assert lost(one / "tally.db", other / "tally.db") > 0


def test_two_machines_lose_nothing_where_they_keep_nothing(tmp_path: Path) -> None:
    with by_gluster(tmp_path / "mounts", cached=False) as (one, other):
        assert lost(one / "tally.db", other / "tally.db") == 0


def test_two_machines_that_do_not_see_each_others_locks_lose_transactions_or_fail(tmp_path: Path) -> None:
    with by_ssh(tmp_path / "mounts") as (one, other):
        try:
            found = lost(one / "tally.db", other / "tally.db")
        except sqlite3.Error:
            return
        assert found > 0
