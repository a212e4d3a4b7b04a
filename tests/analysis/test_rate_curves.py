"""What searches tried, as a frame and as a figure: read back from real searches in a real store."""

import warnings
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pytest
from conftest import make_site
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from recorded import record

from analysis.figures import rate_chart
from analysis.panels import draw, save
from analysis.rates import trials
from analysis.report import report
from sweeper import store
from sweeper.cell import Cell, LrSearch
from sweeper.grid import grid
from sweeper.outcome import RateTrial
from sweeper.rates import Searches
from sweeper.site import Site

STUDY, EMPTY = "searched", "empty"
GRID = LrSearch(low=1e-5, high=1e-1, trials=9, method="grid")
RANGE = LrSearch(low=1e-6, high=10, trials=8, method="range_test")
COMMON = dict(dataset="digits", model="cbr_mini", seed=[0, 1], depth=[1, 2])
SCORED = grid(lr=GRID, source=["random", "file:/w/a.pt"], **COMMON)
LOSSY = grid(lr=GRID, monitor="loss", fraction=0.5, **COMMON)
RANGED = grid(lr=RANGE, fraction=0.25, **COMMON)
CURVE = (2.3, 2.3, 2.3, 2.2, 1.4, 0.6, 0.5, 9.0)


def accuracy(cell: Cell, lr: float) -> float:
    """Best at 1e-3, a little better with more depth."""
    return 0.8 - 0.1 * abs(np.log10(lr) + 3) + 0.01 * (cell.network.depth or 4)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site with the searches of some studies."""
    site = make_site(tmp_path_factory.mktemp("rates"))
    for study, cells in ((STUDY, SCORED + LOSSY + RANGED), (EMPTY, [])):
        store.initialise(site, study)
        searches = Searches(cells, site.study(study) / "rates.db")
        for setting in dict.fromkeys(cell.setting() for cell in cells):
            run(searches, setting, site, study)
    record(site, STUDY, SCORED[0], test_scores={"accuracy": 0.9})
    return site


def run(searches: Searches, setting: str, site: Site, study: str) -> None:
    """Ends a search, of which the largest rate diverges, and records it."""
    search = searches.open(setting)
    for ask in iter(search.ask, None):
        search.tell(ask.number, outcome(ask.cell, ask.lr, ranged=bool(ask.rates)))
    store.log_search(
        site, study, search.cell, lr=search.found(), table=search.table(), tags={}, check_lease=lambda: None
    )


def outcome(cell: Cell, lr: float, *, ranged: bool) -> RateTrial:
    if ranged:
        return RateTrial(scores=(), losses=CURVE, higher=False, diverged=None, seconds=1.0)
    if lr > 0.05:
        return RateTrial(scores=(), diverged="epoch 1", seconds=1.0)
    best = accuracy(cell, lr)
    scores = (best / 2, best, best - 0.01)
    if cell.recipe.monitor == "loss":
        return RateTrial(scores=tuple(value - 1 for value in scores), higher=False, diverged=None, seconds=1.0)
    return RateTrial(scores=scores, diverged=None, seconds=1.0)


@pytest.fixture(scope="module")
def tried(here: Site) -> pd.DataFrame:
    return trials(STUDY, here)


def only(tried: pd.DataFrame, metric: str) -> pd.DataFrame:
    return tried[tried["metric"] == metric]


def panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_visible()]


def heights(axes: Axes) -> list[list[float]]:
    lines = [each for each in axes.containers if isinstance(each, ErrorbarContainer)]
    return [np.asarray(each.lines[0].get_ydata()).tolist() for each in lines]


def ringed(axes: Axes) -> list[tuple[float, float]]:
    """Where rings are: rate and value."""
    rings = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
    return [(10 ** float(x), float(y)) for line in rings for x, y in np.asarray(line.get_xydata())]


def test_there_is_a_row_per_validation_of_every_search_and_none_per_shared_axis(tried: pd.DataFrame) -> None:
    assert tried["setting"].nunique() == 8
    scored = only(tried, "accuracy")
    assert len(scored) == 4 * (8 * 3 + 1)
    assert not {"seed", "fold"} & set(tried)
    assert set(scored["epoch"].dropna()) == {1.0, 2.0, 3.0}


def test_columns_are_typed(tried: pd.DataFrame, here: Site) -> None:
    kinds = {
        "number": "int64",
        "lr": "float64",
        "score": "float64",
        "chosen": "bool",
        "higher": "bool",
        "depth": "Int64",
    }
    assert {name: str(tried[name].dtype) for name in kinds} == kinds
    assert tried["setting"].dtype == tried["diverged"].dtype == "str"


def test_scores_are_those_of_the_trials_in_their_own_direction(tried: pd.DataFrame) -> None:
    best = only(tried, "accuracy").groupby(["depth", "lr"])["score"].max().dropna()
    known = [0.8 - 0.1 * abs(np.log10(lr) + 3) + 0.01 * depth for depth, lr in best.index]
    assert best.tolist() == pytest.approx(known)
    losses = only(tried, "loss").groupby(["depth", "lr"])["score"].min().dropna()
    assert losses.tolist() == pytest.approx([1 - value for value in known])
    assert not only(tried, "loss").dropna(subset="score")["higher"].any()


def test_the_rate_that_was_taken_is_marked(tried: pd.DataFrame) -> None:
    taken = tried[tried["chosen"]].groupby("setting")["lr"].unique()
    assert len(taken) == 8
    assert all(len(rates) == 1 for rates in taken)
    assert only(tried, "accuracy").query("chosen")["lr"].unique() == pytest.approx([1e-3])


def test_a_range_test_is_its_curve(tried: pd.DataFrame) -> None:
    rows = only(tried, "train_loss").query("depth == 1")
    assert rows["train_loss"].tolist() == list(CURVE)
    assert rows["lr"].tolist() == pytest.approx(np.logspace(-6, 1, 8))
    assert rows["score"].isna().all()


def test_a_study_without_searches_has_no_rows(here: Site) -> None:
    assert trials(EMPTY, here).empty


def test_an_unknown_study_is_one_sentence(here: Site) -> None:
    with pytest.raises(LookupError, match="there is no study 'serched'"):
        trials("serched", here)


def test_every_setting_has_a_panel_and_sources_share_one(tried: pd.DataFrame) -> None:
    shown = panels(draw(rate_chart(tried)))
    assert len(shown) == 6
    assert sorted(len(heights(axes)) for axes in shown) == [1, 1, 1, 1, 2, 2]


def test_the_best_score_of_each_rate_is_drawn_and_the_taken_one_ringed(tried: pd.DataFrame) -> None:
    for axes in panels(draw(rate_chart(only(tried, "accuracy")))):
        depth = 1 if "depth 1" in axes.get_title(loc="left") else 2
        rates = np.logspace(-5, -1, 9)
        known = [0.8 - 0.1 * abs(np.log10(lr) + 3) + 0.01 * depth for lr in rates[:-1]]
        assert all(line == pytest.approx([*known, np.nan], nan_ok=True) for line in heights(axes))
        assert [value for _, value in ringed(axes)] == pytest.approx([0.8 + 0.01 * depth] * 2)


def test_of_a_loss_the_smallest_is_drawn_on_a_log_scale(tried: pd.DataFrame) -> None:
    for axes in panels(draw(rate_chart(only(tried, "loss")))):
        assert axes.get_yscale() == "log"
        ((rate, value),) = ringed(axes)
        assert (rate, value) == (pytest.approx(1e-3), pytest.approx(min(heights(axes)[0][:-1])))


def test_what_diverged_or_exploded_is_a_cross_at_the_foot(tried: pd.DataFrame) -> None:
    for axes in panels(draw(rate_chart(tried))):
        places = [x for cross in axes.collections if isinstance(cross, PathCollection) for x, _ in cross.get_offsets()]
        last = 1.0 if "train loss" in axes.get_ylabel() else -1.0  # log10 of the largest rate
        assert places == pytest.approx([last] * len(heights(axes)), abs=0.1)


def test_a_search_without_a_rate_is_drawn_without_a_ring(tried: pd.DataFrame, tmp_path: Path) -> None:
    chart = rate_chart(only(tried, "loss").assign(chosen=False))
    assert [ringed(axes) for axes in panels(draw(chart))] == [[], []]
    with warnings.catch_warnings(action="error"):  # matplotlib warns where it cannot lay a figure out
        save(chart, tmp_path / "rates")


def test_the_legend_says_what_rings_and_crosses_are(tried: pd.DataFrame) -> None:
    (legend,) = draw(rate_chart(tried)).legends
    assert legend.get_title().get_text().endswith("ring: the rate taken; cross: diverged or exploded")


def test_rates_have_ticks_at_powers_of_ten(tried: pd.DataFrame) -> None:
    axes = cast(Axes, panels(draw(rate_chart(only(tried, "accuracy"))))[0])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1e-05", "0.0001", "0.001", "0.01", "0.1"]
    assert axes.get_xticks() == pytest.approx([-5, -4, -3, -2, -1])


def test_of_too_many_panels_the_first_are_drawn_and_the_figure_says_so(tried: pd.DataFrame) -> None:
    one = tried[tried["setting"] == tried["setting"].iloc[0]]
    chart = rate_chart(pd.concat([one.assign(fraction=n / 62, setting=str(n)) for n in range(1, 63)]))
    assert chart.points[["row", "column"]].drop_duplicates().shape[0] == 60
    assert str(chart.note).endswith("the first 60 of 62 panels")
    assert chart.data["fraction"].nunique() == 62


def test_a_report_has_the_figure_and_every_number_behind_it(here: Site, tmp_path: Path, tried: pd.DataFrame) -> None:
    found = report(STUDY, tmp_path, here)
    assert [path.name for path in found.files[-3:]] == ["rates.png", "rates.pdf", "rates.csv"]
    assert len(pd.read_csv(tmp_path / "rates.csv")) == 6 * 9 + 2 * 8
