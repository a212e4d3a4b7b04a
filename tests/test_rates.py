"""Rate searches: real Optuna studies on SQLite, interrupted and resumed."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper.cell import Cell, LrSearch, make_cell
from sweeper.rates import Ask, Search, Searches

SEARCH = LrSearch(low=1e-5, high=1e-1, trials=8)
CELL = make_cell(dataset="digits", model="cbr_mini", lr=SEARCH)


def peak(lr: float) -> float:
    """Best at 1e-3."""
    return 1 - 0.1 * abs(math.log10(lr) + 3)


def run(path: Path, stop_after: int = 10**6, *, cell: Cell = CELL, score: Callable[[float], float] = peak) -> Search:
    """Runs a search one trial at a time, and walks away in the middle of trial `stop_after`."""
    search = Searches([cell], path).open(cell.setting())
    for _ in range(stop_after):
        ask = search.ask()
        if ask is None:
            return search
        search.tell(ask.number, [score(ask.lr) / 2, score(ask.lr)], None)
    search.ask()
    return search


def tried(search: Search) -> list[float]:
    return [trial.params["lr"] for trial in search._trials]


def test_the_best_rate_is_found(tmp_path: Path) -> None:
    search = run(tmp_path / "r.db")
    assert search.left == 0
    assert search.found() == max(tried(search), key=peak)
    assert 3e-4 < (search.found() or 0) < 3e-3


def test_the_first_half_are_the_middles_of_equal_shares_of_the_range(tmp_path: Path) -> None:
    assert tried(run(tmp_path / "r.db"))[:4] == pytest.approx([10**-4.5, 10**-3.5, 10**-2.5, 10**-1.5])


@pytest.mark.parametrize("stop_after", range(8))
def test_an_interrupted_search_tries_the_same_rates(tmp_path: Path, stop_after: int) -> None:
    whole = run(tmp_path / "whole.db")
    run(tmp_path / "parts.db", stop_after)
    resumed = run(tmp_path / "parts.db")
    assert tried(resumed) == tried(whole)
    assert resumed.found() == whole.found()


def test_a_trial_killed_before_its_rate_was_written_gets_the_same_rate(tmp_path: Path) -> None:
    for stop_after in (1, 5):
        whole, cut = tmp_path / f"whole{stop_after}.db", tmp_path / f"cut{stop_after}.db"
        search = Searches([CELL], cut).open(CELL.setting())
        for _ in range(stop_after):
            ask = search.ask()
            assert ask is not None
            search.tell(ask.number, [peak(ask.lr) / 2, peak(ask.lr)], None)
        search._study.ask()  # a trial without a rate
        assert tried(run(cut)) == tried(run(whole))


def test_a_finished_search_asks_nothing(tmp_path: Path) -> None:
    run(tmp_path / "r.db")
    assert Searches([CELL], tmp_path / "r.db").open(CELL.setting()).ask() is None


def test_the_order_in_which_trials_end_does_not_matter(tmp_path: Path) -> None:
    found = []
    for name, order in (("a.db", 1), ("b.db", -1)):
        search = Searches([CELL], tmp_path / name).open(CELL.setting())
        first: list[Ask] = []
        while ask := search.ask():
            first.append(ask)
        assert len(first) == 4  # the others wait for these
        for ask in first[::order]:
            search.tell(ask.number, [peak(ask.lr)], None)
        found.append(tried(run(tmp_path / name)))
    assert found[0] == found[1]


def test_settings_do_not_share_their_draws(tmp_path: Path) -> None:
    one, other = (tried(run(tmp_path / f"{f}.db", cell=CELL.replace(fraction=f))) for f in (0.1, 0.5))
    assert set(one[4:]).isdisjoint(other[4:])


def test_a_grid_is_log_spaced_whole(tmp_path: Path) -> None:
    cell = CELL.replace(lr=LrSearch(low=1e-5, high=1e-2, trials=4, method="grid"))
    assert tried(run(tmp_path / "r.db", cell=cell)) == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2])


def test_a_single_trial_takes_the_middle(tmp_path: Path) -> None:
    cell = CELL.replace(lr=LrSearch(low=1e-4, high=1e-2, trials=1))
    assert run(tmp_path / "r.db", cell=cell).found() == pytest.approx(1e-3)


def test_of_equal_scores_the_first_rate_is_taken(tmp_path: Path) -> None:
    assert run(tmp_path / "r.db", score=lambda lr: 0.5).found() == pytest.approx(10**-4.5)


def test_diverged_rates_are_never_chosen(tmp_path: Path) -> None:
    search = Searches([CELL], tmp_path / "r.db").open(CELL.setting())
    while ask := search.ask():
        search.tell(ask.number, [1.0] if ask.lr > 1e-3 else [0.1], "nan" if ask.lr > 1e-3 else None)
    assert (search.found() or 1) <= 1e-3


def test_a_search_in_which_every_trial_diverged_has_no_rate(tmp_path: Path) -> None:
    search = Searches([CELL], tmp_path / "r.db").open(CELL.setting())
    while ask := search.ask():
        search.tell(ask.number, [], "nan")
    assert search.left == 0
    assert search.found() is None


def test_later_trials_are_held_to_the_median_of_the_finished_ones_of_their_setting(tmp_path: Path) -> None:
    search = Searches([CELL], tmp_path / "r.db").open(CELL.setting())
    curves = [[0.2, 0.1, 0.6], [0.4, 0.5, 0.5], [0.3, 0.7, 0.2], [0.1, 0.1, 0.1]]
    for number, curve in enumerate(curves):
        ask = search.ask()
        assert ask is not None
        assert ask.floor == ()
        search.tell(number, curve, None)
    ask = search.ask()
    assert ask is not None
    assert ask.floor == pytest.approx((0.25, 0.35, 0.55))  # medians of the best so far


def test_a_setting_is_searched_on_its_first_cell_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    cells = [CELL.replace(seed=seed, fold=fold) for seed in (2, 0, 1) for fold in (3, 1, 2)]
    for name, order in (("a.db", 1), ("b.db", -1)):
        assert len({cell.setting() for cell in cells}) == 1
        ask = Searches(cells[::order], tmp_path / name).open(cells[0].setting()).ask()
        assert ask is not None
        assert (ask.cell.seed, ask.cell.images.fold) == (0, 1)


def test_a_search_may_train_shorter_than_the_cells(tmp_path: Path) -> None:
    cell = CELL.replace(lr=LrSearch(low=1e-5, high=1e-2, epochs=2), epochs=50)
    ask = Searches([cell], tmp_path / "r.db").open(cell.setting()).ask()
    assert ask is not None
    assert ask.cell.recipe.epochs == 2
