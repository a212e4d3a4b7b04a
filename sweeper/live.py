"""What a person sees while a sweep runs: one table on a terminal, one line now and then elsewhere.

It only counts what it is told; nothing is decided here.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

_SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Counts of one stage (rate trials, cells or probes) and the time it still needs."""

    def __init__(self, title: str, total: int, console: Console) -> None:
        self.title, self.total = title, total
        self.running = self.done = self.failed = 0
        self.note = ""
        """The newest finding, such as the last rate found."""
        self._console = console
        self._began = self._said = time.monotonic()

    def started(self) -> None:
        """One more is running."""
        self.running += 1
        self._say()

    def ended(self, *, failed: bool = False, note: str = "") -> None:
        """One that was running is done, or has failed."""
        self.running -= 1
        self.failed += failed
        self.done += not failed
        self.note = note or self.note
        self._say()

    def back(self) -> None:
        """One that was running is to be begun again."""
        self.running -= 1
        self._say()

    def seconds_left(self) -> float | None:
        """Time for the rest at the pace so far; None before the first is done."""
        ended = self.done + self.failed
        return (time.monotonic() - self._began) / ended * (self.total - ended) if ended else None

    def __rich__(self) -> Table:
        table = Table(box=None, pad_edge=False)
        cells = {
            self.title: "",
            "done": f"{self.done}/{self.total}",
            "running": str(self.running),
            "failed": str(self.failed),
            "left": as_time(self.seconds_left()),
            "newest": self.note,
        }
        for name in cells:
            table.add_column(name, overflow="fold")
        table.add_row(*cells.values())
        return table

    def _say(self) -> None:
        """A plain line for logs and pipes, where a live table would be thousands of lines."""
        if self._console.is_terminal or time.monotonic() - self._said < _SECONDS_BETWEEN_LINES:
            return
        self._said = time.monotonic()
        left = as_time(self.seconds_left())
        counts = f"{self.done}/{self.total} done, {self.running} running, {self.failed} failed, {left} left"
        self._console.print(f"{self.title}: {counts}{'; ' + self.note if self.note else ''}")


@contextmanager
def shown(stages: Mapping[str, int]) -> Iterator[tuple[Progress, ...]]:
    """The progress of stages (title -> how many jobs), shown while the block runs; empty ones are left out."""
    console = Console(file=sys.stdout, markup=False, highlight=False, soft_wrap=True)
    progress = tuple(Progress(title, total, console) for title, total in stages.items())
    seen = [each for each in progress if each.total]
    if not console.is_terminal:
        yield progress
    else:
        with Live(Group(*seen), console=console, refresh_per_second=4):
            yield progress
    for each in seen:
        console.print(f"{each.title}: {each.done} done, {each.failed} failed")


def as_time(seconds: float | None) -> str:
    """`1:05:09`, `5:09`, or `?` for None."""
    if seconds is None or seconds != seconds:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
