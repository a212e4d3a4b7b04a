"""Locks between two processes, on one machine and as two machines see them by real file systems."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from mounted import by_gluster, by_ssh

from sweeper.locks import held, is_unlocked, locked, unseen

ASK = "import sys; from pathlib import Path; from sweeper.locks import unseen; print(*unseen(Path(sys.argv[1])))"


@contextmanager
def by_disk(folder: Path) -> Iterator[tuple[Path, Path]]:
    folder.mkdir()
    yield folder, folder


def asked(sign: Path) -> str:
    """What another process gets of what is held."""
    done = subprocess.run([sys.executable, "-c", ASK, str(sign)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("served", "got"), [(by_disk, ""), (by_gluster, ""), (by_ssh, "flock SQLite's")], ids=["disk", "glusterfs", "sshfs"]
)
def test_what_a_machine_holds_another_gets_only_where_locks_stay_on_one(
    tmp_path: Path, served: Callable[[Path], AbstractContextManager[tuple[Path, Path]]], got: str
) -> None:
    with served(tmp_path / "mounts") as (one, other), held(one / "sign"):
        assert asked(one / "sign") == ""
        assert asked(other / "sign") == got


def test_nothing_is_locked_or_left_once_nobody_holds_it(tmp_path: Path) -> None:
    with held(tmp_path / "sign"):
        assert unseen(tmp_path / "sign") == []
    assert list(tmp_path.iterdir()) == []
    assert unseen(tmp_path / "sign") == ["flock", "SQLite's"]


def test_a_lock_is_free_again_once_its_process_is_killed(tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from sweeper.locks import locked\n"
    code += "kept = locked(Path(sys.argv[1]), seconds=0); print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "lock")], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert not is_unlocked(tmp_path / "lock")
        process.kill()
        process.wait()
    locked(tmp_path / "lock", seconds=0).release()
