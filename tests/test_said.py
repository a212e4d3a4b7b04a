"""Where the command says that the time of a study went."""

import pytest

from sweeper.job import Spent
from sweeper.said import overhead


@pytest.mark.parametrize(
    ("cells", "trials", "seconds", "slots", "each"),
    [
        (6, 2, 30.0, {4}, (4 * 10 - 30) / 8),
        (1, 0, 2.0, {4}, 10 - 2),  # the other three slots had nothing to do
        (0, 0, 0.0, {4}, 0),
    ],
)
def test_overhead_is_what_slots_with_a_job_did_not_train(
    cells: int, trials: int, seconds: float, slots: set[int], each: float
) -> None:
    said = overhead(Spent(cells=cells, trials=trials, seconds=seconds), 10.0, slots)
    assert said.endswith(f"overhead {each:.2f} s each")


def test_with_several_numbers_of_slots_it_is_not_known() -> None:
    assert "overhead" not in overhead(Spent(cells=6, seconds=30.0), 10.0, {2, 4})
