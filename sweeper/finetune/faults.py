"""Why a job failed: by itself, by its device's memory, by the machine under it, or by the storage.

What follows from that (once more, with smaller pieces, not at all) is decided by who hands out the jobs.
"""

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from sweeper.outcome import Fault

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_AWAY = frozenset(
    {
        *(errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT),
        *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH),
    }
)
"""What file systems of a network answer when their server is not reached, each in its own way."""
_SECONDS_BETWEEN_LOOKS = 1.0


class StorageAwayError(OSError):
    """A folder of the storage that could not be reached from this machine."""


class JobError(RuntimeError):
    """A job that failed in another process; the text is that process's traceback."""

    def __init__(self, text: str, fault: Fault) -> None:
        super().__init__(text)
        self.fault: Fault = fault

    def __reduce__(self) -> tuple[type["JobError"], tuple[str, Fault]]:
        return JobError, (str(self), self.fault)  # else it could not be unpickled


def fault_of(error: BaseException) -> Fault:
    """Whose fault an exception is; what caused or surrounds it counts as well."""
    seen: BaseException | None = error
    chain: list[BaseException] = []
    while seen is not None and seen not in chain:  # an error may have been raised from itself
        chain.append(seen)
        match seen:
            case JobError():
                return seen.fault
            case torch.OutOfMemoryError() | MemoryError():
                return "memory"
            case ConnectionError() | torch.distributed.DistError():
                return "system"
            case RuntimeError() if "/gloo/transport/" in str(seen):  # another worker of the group died
                return "system"
            case StorageAwayError():
                return "away"
            case OSError() if seen.errno in _FULL:
                return "storage"
            case OSError() if seen.errno in _AWAY:
                return "away"
            case RuntimeError() if "can't allocate memory" in str(seen):  # torch's CPU allocator
                return "memory"
        seen = seen.__cause__ or seen.__context__
    return "own"


@contextmanager
def within_reach(folder: Path, patience: float) -> Iterator[None]:
    """Within it, what fails while a folder of the storage is out of reach is that one's fault, whatever it looks like.

    It fails once the folder is back, or after so many seconds: until then this machine could do nothing else either.

    Raises:
        StorageAwayError: in place of what was raised.
    """
    try:
        yield
    except Exception as error:
        began = time.monotonic()
        if _reached(folder):
            raise
        while not _reached(folder) and time.monotonic() - began < patience:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        waited = f"for {time.monotonic() - began:.0f} s after it had failed there"
        raise StorageAwayError(f"{socket.gethostname()} did not reach {folder} {waited}: {error}") from error


def _reached(folder: Path) -> bool:
    try:
        os.listdir(folder)
    except OSError:
        return False
    return True
