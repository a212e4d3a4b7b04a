"""Whose fault a failure is: errors that the system, the disk and torch really raise."""

import errno
import os
import pickle
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sweeper.finetune.faults import JobError, fault_of, within_reach
from sweeper.outcome import Fault


def raised(call: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 (whatever it raises is what is tested)
        call()
    return caught.value


def fill_the_disk() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"state")


def allocate_too_much() -> None:
    torch.empty(2**60, dtype=torch.uint8)


def wrapped(outer: Exception, inner: Callable[[], object]) -> BaseException:
    def call() -> None:
        try:
            inner()
        except BaseException as error:
            raise outer from error

    return raised(call)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_the_storages_fault() -> None:
    error = raised(fill_the_disk)
    assert isinstance(error, OSError)
    assert error.errno == errno.ENOSPC
    assert fault_of(error) == "storage"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_disk_that_takes_nothing_is_the_storages_fault(number: int) -> None:
    assert fault_of(OSError(number, os.strerror(number), "state")) == "storage"


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTUNREACH])
def test_a_storage_that_is_not_reached_is_away(number: int) -> None:
    assert fault_of(OSError(number, os.strerror(number), "state")) == "away"


def test_what_fails_while_the_storage_is_out_of_reach_is_the_storages_fault(tmp_path: Path) -> None:
    def look() -> None:
        with within_reach(tmp_path / "study", patience=0.0):
            (tmp_path / "study" / "work" / "progress.pt").read_bytes()

    error = raised(look)
    assert fault_of(error) == "away"
    assert re.search(rf"did not reach {tmp_path}/study for \d+ s after it had failed there: .*progress.pt", str(error))


def test_a_storage_that_comes_back_is_waited_for(tmp_path: Path) -> None:
    back = threading.Timer(1.5, (tmp_path / "study").mkdir)

    def look() -> None:
        with within_reach(tmp_path / "study", patience=600.0):
            back.start()
            raise KeyError("whatever a library makes of it")

    assert fault_of(raised(look)) == "away"
    assert (tmp_path / "study").is_dir()


def test_what_fails_while_the_storage_is_there_stays_what_it_is(tmp_path: Path) -> None:
    """As of a driver that has lost the study: the job's own folder is gone, but not the study's."""

    def look() -> None:
        with within_reach(tmp_path, patience=600.0):
            (tmp_path / "work-1" / "progress.pt").read_bytes()

    error = raised(look)
    assert type(error) is FileNotFoundError
    assert fault_of(error) == "own"


def test_torchs_processor_memory_is_the_memorys_fault() -> None:
    error = raised(allocate_too_much)
    assert type(error) is RuntimeError
    assert fault_of(error) == "memory"


def test_pythons_memory_is_the_memorys_fault() -> None:
    assert fault_of(raised(lambda: bytearray(2**62))) == "memory"


def test_a_devices_memory_is_the_memorys_fault() -> None:
    assert fault_of(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")) == "memory"


@pytest.mark.gpu
def test_a_real_devices_memory_is_the_memorys_fault() -> None:
    assert fault_of(raised(lambda: torch.empty(2**44, dtype=torch.uint8, device="cuda"))) == "memory"


def test_a_refused_connection_is_the_systems_fault() -> None:
    def connect() -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            socket.create_connection(closed.getsockname(), timeout=5)

    assert fault_of(raised(connect)) == "system"


@pytest.mark.parametrize("error", [ConnectionResetError("by peer"), BrokenPipeError(errno.EPIPE, "pipe")])
def test_a_lost_connection_is_the_systems_fault(error: Exception) -> None:
    assert fault_of(error) == "system"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("patient7 is in train and in test"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "image.png"),
        PermissionError(errno.EACCES, "Permission denied", "image.png"),
        KeyError("label"),
    ],
)
def test_anything_else_is_the_cells_own_fault(error: Exception) -> None:
    assert fault_of(error) == "own"


@pytest.mark.parametrize("fault", ["own", "memory", "system", "storage", "away"])
def test_a_job_of_another_process_brings_its_fault_along(fault: Fault) -> None:
    assert fault_of(JobError("Traceback ...\nValueError: no", fault)) == fault


def test_a_jobs_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(JobError("Traceback ...\nValueError: no", "memory")))
    assert (str(error), error.fault) == ("Traceback ...\nValueError: no", "memory")


@pytest.mark.parametrize(
    ("inner", "fault"), [(fill_the_disk, "storage"), (allocate_too_much, "memory"), (lambda: int("x"), "own")]
)
def test_what_caused_an_error_decides(inner: Callable[[], object], fault: Fault) -> None:
    assert fault_of(wrapped(ValueError("epoch 3 could not be kept"), inner)) == fault


def test_a_cause_two_steps_back_decides() -> None:
    def middle() -> None:
        raise wrapped(RuntimeError("no state"), fill_the_disk)

    assert fault_of(wrapped(ValueError("no epoch"), middle)) == "storage"


def test_an_error_while_another_is_handled_does_not_hide_it() -> None:
    def call() -> None:
        try:
            allocate_too_much()
        finally:
            raise KeyError("clean-up")

    assert fault_of(raised(call)) == "memory"


def test_errors_that_caused_each_other_are_looked_at_once() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert fault_of(one) == "own"


def test_the_outermost_known_fault_decides() -> None:
    assert fault_of(wrapped(ConnectionError("the worker is gone"), allocate_too_much)) == "system"
