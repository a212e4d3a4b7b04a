"""The processes that a test started, as Linux's /proc shows them: to be watched, stopped and killed one by one.

Only descendants of a given process are ever looked at, and a process whose number was given to another is left alone.
"""

import os
import signal
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process; equal only to itself, even if its number is given again."""

    pid: int
    started: int
    """Clock ticks from the start of the machine."""
    parent: int
    dead: bool
    """Waits for its parent to take notice."""

    @property
    def command(self) -> list[str]:
        """What it calls itself, such as `ray::_Trial.train`, and its arguments; empty when it has ended."""
        with suppress(OSError):
            return Path(f"/proc/{self.pid}/cmdline").read_bytes().decode(errors="replace").strip("\0 ").split("\0")
        return []

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        now = _read(self.pid)
        return now is not None and now.started == self.started and not now.dead

    def send(self, way: signal.Signals) -> None:
        """Sends it a signal if it still runs."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, way)


def tree(pid: int) -> list[Process]:
    """The process with this number and all its descendants, a parent before its children; none when it has ended."""
    children = defaultdict(list)
    for path in Path("/proc").glob("[0-9]*"):
        if process := _read(int(path.name)):
            children[process.parent].append(process)
    root = _read(pid)
    found = [] if root is None else [root]
    for process in found:  # grows while it is walked
        found += children[process.pid]
    return [process for process in found if not process.dead]


def named(processes: Iterable[Process], *names: str) -> list[Process]:
    """Those whose program or title begins with one of the names."""
    first = [(process, Path(command[0].split(" ")[0]).name) for process in processes if (command := process.command)]
    return [process for process, name in first if name.startswith(names)]


def end(processes: Iterable[Process]) -> None:
    """Kills those that still run."""
    for process in processes:
        process.send(signal.SIGKILL)


def _read(pid: int) -> Process | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # it has ended
        return None
    fields = text[text.rindex(")") + 2 :].split()  # what stands before is its name, which may hold anything
    return Process(pid=pid, started=int(fields[19]), parent=int(fields[1]), dead=fields[0] in "ZX")
