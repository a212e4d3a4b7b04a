"""Rate searches: real Optuna studies on SQLite, interrupted and resumed."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import optuna
import pytest

from sweeper.cell import Cell, LrSearch, make_cell
from sweeper.grid import grid
from sweeper.ladder import rungs
from sweeper.outcome import RateTrial
from sweeper.rates import Ask, Search, Searches

SEARCH = LrSearch(low=1e-5, high=1e-1, trials=8)
CELL = make_cell(dataset="digits", model="cbr_mini", lr=SEARCH)


def peak(lr: float) -> float:
    """Best at 1e-3."""
    return 1 - 0.1 * abs(math.log10(lr) + 3)


def told(*scores: float, diverged: str | None = None, higher: bool = True) -> RateTrial:
    return RateTrial(scores=scores, higher=higher, diverged=diverged, seconds=1.0)


def run(path: Path, stop_after: int = 10**6, *, cell: Cell = CELL, score: Callable[[float], float] = peak) -> Search:
    """Runs a search one trial at a time, and walks away in the middle of trial `stop_after`."""
    search = Searches([cell], path).open(cell.setting())
    for _ in range(stop_after):
        ask = search.ask()
        if ask is None:
            return search
        search.tell(ask.number, told(score(ask.lr) / 2, score(ask.lr)))
    search.ask()
    return search


def tried(search: Search) -> list[float]:
    return [trial.params["lr"] for trial in search._trials]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Search:
    """A search that nothing interrupted."""
    return run(tmp_path_factory.mktemp("whole") / "r.db")


def test_the_best_rate_is_found(whole: Search) -> None:
    assert whole.left == 0
    assert whole.found() == max(tried(whole), key=peak)
    assert 3e-4 < (whole.found() or 0) < 3e-3


def test_the_first_half_are_the_middles_of_equal_shares_of_the_range(tmp_path: Path) -> None:
    cell = CELL.replace(lr=LrSearch(low=1e-8, high=1e-4, trials=8))
    assert tried(run(tmp_path / "r.db", cell=cell))[:4] == pytest.approx([10**-7.5, 10**-6.5, 10**-5.5, 10**-4.5])


@pytest.mark.parametrize("ends", [(1e-5, 1e-2), (1e-3, 3e-2), (1e-4, 1e-3), (2e-4, 0.7)])
@pytest.mark.parametrize("trials", [1, 5, 8])
def test_the_default_recipes_rate_comes_first_and_the_middle_of_its_share_not_at_all(
    tmp_path: Path, ends: tuple[float, float], trials: int
) -> None:
    cell = CELL.replace(lr=LrSearch(low=ends[0], high=ends[1], trials=trials))
    asks = iter(Searches([cell], tmp_path / "r.db").open(cell.setting()).ask, None)
    found = [ask.lr for ask in asks]  # those that wait for none
    edges = np.geomspace(*ends, math.ceil(trials / 2) + 1)
    middles = np.sqrt(edges[:-1] * edges[1:])
    assert found[0] == 1e-3
    assert len(found) == len(middles)
    absent = [n for n, middle in enumerate(middles) if not np.isclose(found[1:], middle).any()]
    assert len(absent) == 1
    assert edges[absent[0]] / 1.001 <= 1e-3 <= edges[absent[0] + 1] * 1.001


def test_a_search_that_began_before_the_default_rate_came_first_keeps_the_rates_of_then(tmp_path: Path) -> None:
    path = f"sqlite:///{tmp_path / 'r.db'}"
    optuna.create_study(storage=path, study_name=CELL.setting(), direction="maximize").ask()
    assert tried(run(tmp_path / "r.db"))[:4] == pytest.approx([10**-4.5, 10**-3.5, 10**-2.5, 10**-1.5])


@pytest.mark.parametrize("stop_after", [0, 3, 4, 7])
def test_an_interrupted_search_tries_the_same_rates(tmp_path: Path, whole: Search, stop_after: int) -> None:
    run(tmp_path / "r.db", stop_after)
    resumed = run(tmp_path / "r.db")
    assert tried(resumed) == tried(whole)
    assert resumed.found() == whole.found()


@pytest.mark.parametrize("stop_after", [1, 5])
def test_a_trial_killed_before_its_rate_was_written_gets_the_same_rate(
    tmp_path: Path, whole: Search, stop_after: int
) -> None:
    search = Searches([CELL], tmp_path / "r.db").open(CELL.setting())
    for _ in range(stop_after):
        ask = search.ask()
        assert ask is not None
        search.tell(ask.number, told(peak(ask.lr) / 2, peak(ask.lr)))
    search._study.ask()  # a trial without a rate
    assert tried(run(tmp_path / "r.db")) == tried(whole)


def test_a_finished_search_asks_nothing(whole: Search) -> None:
    assert Search(whole.setting, whole.cell, whole._study._storage).ask() is None  # type: ignore[arg-type]


def test_the_order_in_which_trials_end_does_not_matter(tmp_path: Path) -> None:
    found = []
    for name, order in (("a.db", 1), ("b.db", -1)):
        search = Searches([CELL], tmp_path / name).open(CELL.setting())
        first: list[Ask] = []
        while ask := search.ask():
            first.append(ask)
        assert len(first) == 4  # the others wait for these
        for ask in first[::order]:
            search.tell(ask.number, told(peak(ask.lr)))
        found.append(tried(run(tmp_path / name)))
    assert found[0] == found[1]


def test_settings_do_not_share_their_draws(tmp_path: Path) -> None:
    one, other = (tried(run(tmp_path / f"{f}.db", cell=CELL.replace(fraction=f))) for f in (0.1, 0.5))
    assert set(one[4:]).isdisjoint(other[4:])


def test_a_grid_is_log_spaced_whole(tmp_path: Path) -> None:
    cell = CELL.replace(lr=LrSearch(low=1e-5, high=1e-2, trials=4, method="grid"))
    assert tried(run(tmp_path / "r.db", cell=cell)) == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2])


def test_the_grid_of_matsoukas_et_al_is_numpys_logspace_at_constant_rates(tmp_path: Path) -> None:
    grid = LrSearch(low=1e-5, high=1e-2, trials=25, method="grid", epochs=5, schedule="constant")
    cell = CELL.replace(lr=grid, epochs=50, schedule="multistep", milestones=(7,), warmup_steps=1000)
    search = Searches([cell], tmp_path / "r.db").open(cell.setting())
    asks = [search.ask() for _ in range(25)]
    assert [ask.lr for ask in asks if ask] == pytest.approx(np.logspace(-5, -2, 25))
    assert {ask.cell for ask in asks if ask} == {
        cell.replace(epochs=5, schedule="constant", milestones=(), warmup_steps=0)
    }


def test_a_single_trial_away_from_the_default_rate_takes_the_middle(tmp_path: Path) -> None:
    cell = CELL.replace(lr=LrSearch(low=1e-2, high=1, trials=1))
    assert run(tmp_path / "r.db", cell=cell).found() == pytest.approx(1e-1)


def test_of_equal_scores_the_first_rate_is_taken(tmp_path: Path) -> None:
    assert run(tmp_path / "r.db", score=lambda lr: 0.5).found() == 1e-3


def test_diverged_rates_are_never_chosen(tmp_path: Path) -> None:
    search = Searches([CELL], tmp_path / "r.db").open(CELL.setting())
    while ask := search.ask():
        search.tell(ask.number, told(1.0, diverged="nan") if ask.lr > 1e-3 else told(0.1))
    assert (search.found() or 1) <= 1e-3


def test_a_search_in_which_every_trial_diverged_has_no_rate(tmp_path: Path) -> None:
    search = Searches([CELL], tmp_path / "r.db").open(CELL.setting())
    while ask := search.ask():
        search.tell(ask.number, told(diverged="nan"))
    assert search.left == 0
    assert search.found() is None


def test_later_trials_are_held_to_the_median_of_the_finished_ones_of_their_setting(tmp_path: Path) -> None:
    search = Searches([CELL], tmp_path / "r.db").open(CELL.setting())
    curves = [[0.2, 0.1, 0.6], [0.4, 0.5, 0.5], [0.3, 0.7, 0.2], [0.1, 0.1, 0.1]]
    for number, curve in enumerate(curves):
        ask = search.ask()
        assert ask is not None
        assert ask.floor == ()
        search.tell(number, told(*curve))
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


def test_a_trial_keeps_the_recipes_schedule_and_warm_up_unless_told_otherwise(tmp_path: Path) -> None:
    cell = CELL.replace(schedule="cosine", warmup=1.0, epochs=5)
    ask = Searches([cell], tmp_path / "r.db").open(cell.setting()).ask()
    assert ask is not None
    assert ask.cell == cell


def test_the_table_holds_every_score_in_its_own_direction_and_marks_the_rate_that_was_taken(tmp_path: Path) -> None:
    search = Searches([CELL], tmp_path / "r.db").open(CELL.setting())
    while ask := search.ask():
        search.tell(
            ask.number, told(diverged="epoch 1", higher=False) if ask.number == 1 else told(-3.0, -ask.lr, higher=False)
        )
    table = search.table()
    assert table["number"].tolist() == [0, 0, 1, *np.repeat(range(2, 8), 2)]
    assert table.loc[table["epoch"] == 2, "score"].tolist() == table.loc[table["epoch"] == 2, "lr"].tolist()
    assert table.loc[table["chosen"], "lr"].tolist() == [search.found()] * 2
    assert table["diverged"].dropna().tolist() == ["epoch 1"]
    assert not table["higher"].any()


def test_a_table_counts_passes_where_an_epoch_is_validated_often(tmp_path: Path) -> None:
    cell = CELL.replace(validations=4)
    search = Searches([cell], tmp_path / "r.db").open(cell.setting())
    ask = search.ask()
    assert ask is not None
    search.tell(ask.number, told(0.1, 0.2, 0.3))
    assert search.table()["epoch"].tolist() == [0.25, 0.5, 0.75]


RANGE = CELL.replace(lr=LrSearch(low=1e-6, high=1e1, trials=15, method="range_test"), schedule="cosine", warmup=2.0)
FALLING = [2.3] * 6 + [2.25, 2.1, 1.6, 1.1, 1.0, 1.1, 9.0]
"""Falls steepest around the ninth stretch, and explodes in the 13th."""


def ranged(path: Path, losses: Sequence[float]) -> Search:
    search = Searches([RANGE], path).open(RANGE.setting())
    ask = search.ask()
    assert ask is not None
    search.tell(ask.number, RateTrial(scores=(), losses=tuple(losses), diverged=None, seconds=1.0))
    return search


def test_a_range_test_is_one_training_of_one_epoch_through_the_whole_range_without_schedule(tmp_path: Path) -> None:
    search = Searches([RANGE], tmp_path / "r.db").open(RANGE.setting())
    ask = search.ask()
    assert ask is not None
    assert search.left == 1
    assert search.ask() is None
    assert ask.rates == pytest.approx(np.logspace(-6, 1, 15))
    assert ask.cell == RANGE.replace(epochs=1, schedule="constant", warmup=0.0)


def test_a_range_test_takes_the_rate_at_which_the_loss_falls_steepest(tmp_path: Path) -> None:
    search = ranged(tmp_path / "r.db", FALLING)
    assert search.left == 0
    assert search.ask() is None
    assert search.found() == pytest.approx(10**-6 * 10 ** (8 / 2))


def test_an_interrupted_range_test_is_asked_again(tmp_path: Path) -> None:
    first = Searches([RANGE], tmp_path / "r.db").open(RANGE.setting()).ask()
    assert Searches([RANGE], tmp_path / "r.db").open(RANGE.setting()).ask() == first


def test_a_range_test_is_known_to_the_next_driver(tmp_path: Path) -> None:
    found = ranged(tmp_path / "r.db", FALLING).found()
    again = Searches([RANGE], tmp_path / "r.db").open(RANGE.setting())
    assert (again.ask(), again.left, again.found()) == (None, 0, found)


@pytest.mark.parametrize("losses", [np.linspace(1, 2, 15), [2.3, 1.0], [], [2.3] * 15])
def test_a_range_test_whose_loss_does_not_fall_has_no_rate_and_says_so(tmp_path: Path, losses: list[float]) -> None:
    search = ranged(tmp_path / "r.db", losses)
    assert (search.left, search.found()) == (0, None)
    assert search.nothing_found().startswith("no rate found: in the range test from 1e-06 to 10 the training loss does")


def test_the_table_of_a_range_test_is_its_curve(tmp_path: Path) -> None:
    table = ranged(tmp_path / "r.db", FALLING).table()
    assert table["train_loss"].tolist() == FALLING
    assert table["lr"].tolist() == list(rungs(LrSearch(low=1e-6, high=1e1, trials=15)))[:13]
    assert table["epoch"].tolist() == pytest.approx(np.arange(1, 14) / 15)
    assert table["chosen"].tolist() == [n == 8 for n in range(13)]


@pytest.mark.parametrize("method", ["optuna", "grid", "range_test"])
def test_cells_that_share_an_axis_have_one_search(
    tmp_path: Path, method: Literal["optuna", "grid", "range_test"]
) -> None:
    search = LrSearch(low=1e-4, high=1e-1, trials=5, method=method, share=("seed", "fold", "fraction"))
    cells = grid(
        dataset="digits", model="cbr_mini", lr=search, seed=range(2), fold=[1, 2], fraction=[0.5, 1.0], size=[8, 16]
    )
    settings = {cell.setting() for cell in cells}
    assert len(settings) == 2
    searches = Searches(cells, tmp_path / "r.db")
    asks = [ask for setting in settings for opened in [searches.open(setting)] if (ask := opened.ask())]
    assert {(ask.cell.images.size, ask.cell.seed, ask.cell.images.fold, ask.cell.images.fraction) for ask in asks} == {
        (8, 0, 1, 0.5),
        (16, 0, 1, 0.5),
    }
