"""What a person sees while a sweep runs."""

import io

import pytest
from rich.console import Console

from sweeper.live import Progress, as_time


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (65.4, "1:05"), (3909, "1:05:09"), (None, "?"), (float("nan"), "?")]
)
def test_times_read_as_on_a_clock(seconds: float | None, text: str) -> None:
    assert as_time(seconds) == text


def test_counts_follow_what_was_started_and_ended() -> None:
    progress = Progress("cells", 5, Console(file=io.StringIO()))
    for _ in range(3):
        progress.started()
    progress.ended()
    progress.ended(failed=True)
    assert (progress.running, progress.done, progress.failed) == (1, 1, 1)


def test_the_time_left_is_unknown_before_the_first_has_ended() -> None:
    progress = Progress("cells", 2, Console(file=io.StringIO()))
    progress.started()
    assert progress.seconds_left() is None
    progress.ended()
    assert (progress.seconds_left() or -1) >= 0


def test_a_key_in_brackets_is_shown_and_not_taken_for_markup() -> None:
    console = Console(file=io.StringIO(), markup=False, width=200)
    progress = Progress("cells", 1, console)
    progress.started()
    progress.ended(note="resnet18 [70ed123456789abc]")
    console.print(progress)
    assert "[70ed123456789abc]" in console.file.getvalue()  # type: ignore[attr-defined]
