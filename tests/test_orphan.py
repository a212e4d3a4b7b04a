"""A worker process and its parent, both real."""

import select
import subprocess
import sys
import time

import pytest

WORKER = """
import time
from sweeper.orphan import die_with_parent
die_with_parent()
print("ready", flush=True)
time.sleep(60)
"""
PARENT = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {WORKER!r}]).pid, flush=True); input()"


@pytest.fixture
def parent() -> subprocess.Popen[str]:
    """A process whose child has called `die_with_parent`."""
    started = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert started.stdout
    lines = {started.stdout.readline().strip() for _ in range(2)}
    assert "ready" in lines
    return started


def test_a_worker_ends_after_its_parent_was_killed(parent: subprocess.Popen[str]) -> None:
    parent.kill()
    parent.wait()
    assert parent.stdout
    began = time.monotonic()
    assert parent.stdout.read() == ""  # the worker held the other end of the pipe
    assert time.monotonic() - began < 30, "the worker slept to its own end"


def test_a_worker_lives_as_long_as_its_parent(parent: subprocess.Popen[str]) -> None:
    ended, _, _ = select.select([parent.stdout], [], [], 5)
    assert not ended
    parent.kill()
    parent.wait()
