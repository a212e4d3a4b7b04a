"""Why a job failed: by itself, by its device's memory, by the machine under it, or by the disk.

What follows from that (once more, with smaller pieces, not at all) is decided by who hands out the jobs.
"""

import errno

import torch

from sweeper.outcome import Fault

_STORAGE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE})


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
            case OSError() if seen.errno in _STORAGE:
                return "storage"
            case RuntimeError() if "can't allocate memory" in str(seen):  # torch's CPU allocator
                return "memory"
        seen = seen.__cause__ or seen.__context__
    return "own"
