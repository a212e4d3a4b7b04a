"""`python guard.py COMMAND ...`: runs a command, and when it has ended, however, nothing that it started is left.

MLflow's server starts a server, which starts workers; where one of the first two is killed, the others would keep the
port, and no new server could have it. Linux alone has what this needs. It is a script that imports nothing of ours,
so that it is small.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2): whoever loses its parent below this process becomes its child


def main(command: Sequence[str]) -> int:
    """The exit code of the command, in a shell's way: 128 more than the signal that ended it."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    child = subprocess.Popen(command)
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda number, _: child.send_signal(number))
    code = child.wait()
    _end_children()
    return code if code >= 0 else 128 - code


def _end_children() -> None:
    """Kills what is left below this process, generation by generation, as each becomes its child."""
    with suppress(ChildProcessError):
        while True:
            for pid in Path("/proc/self/task").joinpath(str(os.getpid()), "children").read_text().split():
                os.kill(int(pid), signal.SIGKILL)  # a child that is not waited for keeps its number
            os.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
