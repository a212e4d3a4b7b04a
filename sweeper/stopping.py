"""When a sweep goes on no more, because it would only go on failing.

That a driver has lost its study is told by `lease`, and that MLflow stays away by `store`.
"""

import re

_SAME_FAILURES = 5


class SweepStoppedError(RuntimeError):
    """A sweep that does not go on, because it would only go on failing."""


class StorageError(SweepStoppedError):
    """A sweep that does not go on, because its storage takes no more or is away; nothing can be recorded then."""


class FirstEnds:
    """How the first cells of a sweep ended."""

    def __init__(self) -> None:
        self._kinds: list[str] = []

    def note(self, error: str) -> SweepStoppedError | None:
        """Takes in the end of a cell, or of a search for several; why the sweep stops, if all failed in the same way.

        Args:
            error: what went wrong; empty where nothing did.
        """
        self._kinds.append(_kind(error))
        if len(self._kinds) != _SAME_FAILURES or len(set(self._kinds)) > 1 or not error:
            return None
        return SweepStoppedError(
            f"the first {_SAME_FAILURES} cells failed in the same way, so that no more are begun: {last_line(error)}"
        )


def last_line(error: str) -> str:
    """What went wrong, below its traceback."""
    return error.strip().splitlines()[-1]


def _kind(error: str) -> str:
    """What failures of the same kind have in common: the last line without its numbers and keys."""
    return re.sub(r"[0-9a-f]{16}|[-+.\d]+(e[-+]?\d+)?", "#", last_line(error)) if error else ""
