"""In which order cells come whose starts were scored without training: among equals alone, and none is left out."""

import random
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from conftest import make_site
from queueing import CELL, SEARCH, Begin, Queue, keys
from recorded import record

from sweeper import Knn, Sweep, Transferability, ledger, store
from sweeper.cell import Cell
from sweeper.job import RateJob
from sweeper.ledger import Finished
from sweeper.probe_types import Probe
from sweeper.promise import by_promise
from sweeper.site import Site

PROBE = Transferability(scores=("logme", "h_score"))
SOURCES = ("imagenet", "radimagenet", "dino", "random")
LOGME = {"imagenet": -0.9, "radimagenet": -0.2, "dino": -0.5}
"""Of a target; `random` was never scored."""
PROMISE = ("radimagenet", "dino", "imagenet", "random")


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The study `grown`, of which one seed of each source but one is finished and scored, on two targets."""
    site = make_site(tmp_path_factory.mktemp("scored"))
    store.initialise(site, "grown")
    for source, logme in LOGME.items():
        score(site, CELL.replace(source=source), logme)
        score(site, CELL.replace(source=source, dataset="breastmnist"), 10 - logme)
    return site


def score(site: Site, cell: Cell, logme: float) -> None:
    """Records a finished cell with its scores; the second one would order the sources the other way round."""
    run_id = record(site, "grown", cell)
    rows = pd.DataFrame({"metric": ["h_score", "logme"], "value": [-logme, logme]})
    work = site.storage / "work"
    work.mkdir(exist_ok=True)
    store.log_probe(site, run_id, PROBE, rows, work)


def grown(probes: tuple[Probe, ...] = (PROBE,), *, left: list[Cell], site: Site) -> list[Cell]:
    finished = ledger.read(site, "grown").finished
    return by_promise(left, sweep(left, finished, probes), finished, site)


def sweep(left: list[Cell], finished: dict[str, Finished], probes: tuple[Probe, ...]) -> Sweep:
    return Sweep(name="grown", cells=[*(each.cell for each in finished.values()), *left], probes=probes)


def new(**axes: object) -> list[Cell]:
    """A cell of each source, as a study declares them."""
    return [CELL.replace(source=source, **axes) for source in SOURCES]


def sources(cells: list[Cell]) -> list[str]:
    return [cell.weights.source for cell in cells]


@pytest.mark.parametrize("axes", [{"seed": 5}, {"fold": 3}, {"epochs": 99, "lr": 0.5, "optimizer": "sgd"}], ids=str)
def test_other_seeds_folds_and_recipes_come_in_the_order_of_the_first_score(axes: dict, scored: Site) -> None:
    assert sources(grown(left=new(**axes), site=scored)) == list(PROMISE)


@pytest.mark.parametrize("axes", [{"fraction": 0.1}, {"size": 9}, {"depth": 2}, {"blocks": 1}, {"shots": 3}], ids=str)
def test_of_what_was_not_scored_the_declared_order_stays(axes: dict, scored: Site) -> None:
    assert grown(left=new(**axes), site=scored) == new(**axes)


def test_scores_of_two_targets_are_never_compared(scored: Site) -> None:
    """On the second target every score is higher, and orders the sources the other way round."""
    found = grown(left=[*new(seed=1), *new(seed=1, dataset="breastmnist")], site=scored)
    pairs = [(cell.images.dataset, cell.weights.source) for cell in found]
    assert [source for target, source in pairs if target == "breastmnist"] == [*PROMISE[2::-1], "random"]
    assert {target for target, _ in pairs[:2]} == {target for target, _ in pairs[4:6]} == {"digits", "breastmnist"}


def test_no_cell_is_skipped_and_none_is_new(scored: Site) -> None:
    left = random.Random(0).sample([*new(seed=1), *new(fraction=0.1), *new(fold=2, epochs=3)], 12)
    assert Counter(grown(left=left, site=scored)) == Counter(left)


@pytest.mark.parametrize("probes", [(), (Knn(),), (Transferability(scores=("logme",)),)], ids=str)
def test_without_the_probe_or_its_rows_nothing_is_read_and_the_order_stays(
    probes: tuple[Probe, ...], scored: Site, tmp_path: Path
) -> None:
    left, finished = new(seed=1), ledger.read(scored, "grown").finished
    assert by_promise(left, sweep(left, finished, probes), finished, make_site(tmp_path)) == left
    assert not list(tmp_path.iterdir())


def test_a_score_that_is_no_number_counts_as_none(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    store.initialise(site, "grown")
    score(site, CELL.replace(source="imagenet"), float("nan"))
    score(site, CELL.replace(source="dino"), -3.0)
    assert sources(grown(left=new(seed=1), site=site)) == ["dino", "imagenet", "radimagenet", "random"]


def test_the_longest_cell_still_comes_first_and_promise_decides_among_equals(scored: Site, begin: Begin) -> None:
    left = [*new(seed=1), *new(seed=1, epochs=50)]
    queue = begin(grown(left=left, site=scored), slots=1)
    taken = [(cell.recipe.epochs, cell.weights.source) for cell in cells_of(queue, left)]
    assert taken == [(epochs, source) for epochs in (50, 10) for source in PROMISE]


def test_rates_are_searched_in_the_same_order(scored: Site, begin: Begin) -> None:
    queue = begin(grown(left=new(seed=1, lr=SEARCH), site=scored), slots=1)
    trials = [job for job in queue.finish_all() if isinstance(job, RateJob)]
    assert list(dict.fromkeys(job.ask.cell.weights.source for job in trials)) == list(PROMISE)


def cells_of(queue: Queue, left: list[Cell]) -> list[Cell]:
    by_key = {cell.key: cell for cell in left}
    return [by_key[key] for key in keys(queue.finish_all())]
