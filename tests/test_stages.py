"""Sweeps whose cells are chosen from another's finished cells, over a real store; nothing is trained."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import make_site
from driving import free_port, mlflow_server
from recorded import epochs, record

from sweeper import Cell, Sweep, best_rows, grid, ledger, store
from sweeper.grid import StudyError
from sweeper.plan import Plan
from sweeper.site import Site
from sweeper.stages import plans, validation_rows

common = dict(dataset="busi", model="cbr_mini", size=8, lr=1e-3)
BLOCKS = grid(depth=[1, 2, 3], seed=range(2), **common)
SCORES = {1: 0.5, 2: 0.8, 3: 0.6}
"""Best validation accuracy of each depth."""


@pytest.fixture
def here(root: Path, tmp_path: Path) -> Site:
    return make_site(root, tmp_path)


@pytest.fixture
def two(here: Site, request: pytest.FixtureRequest) -> list[Sweep]:
    """Blocks, then fractions of the training images at the best depth, in studies of this test's own."""
    name = request.node.name.replace("[", "-").replace("]", "")
    store.initialise(here, f"{name}-1")
    blocks = Sweep(name=f"{name}-1", cells=BLOCKS)
    return [blocks, Sweep(name=f"{name}-2", after=blocks, choose=fractions)]


def fractions(rows: list[dict[str, Any]]) -> Iterator[Cell]:
    for best in best_rows(rows, by=["dataset"], score="best_val_accuracy"):
        yield from grid(depth=best["depth"], fraction=[0.1, 0.2], **common)


def finish(site: Site, study: str, cells: list[Cell], tests: float = 0.3) -> None:
    for cell in cells:
        done = epochs(0.1, SCORES[cell.network.depth or 0] + cell.seed / 100)
        record(site, study, cell, done=done, test_scores={"accuracy": tests}, lr=1e-4)


def second(sweeps: list[Sweep], site: Site) -> Plan:
    return plans(sweeps, site)[1]


def test_what_waits_says_how_many_cells_it_waits_for(here: Site, two: list[Sweep]) -> None:
    finish(here, two[0].name, BLOCKS[:2])
    assert second(two, here).waits == (
        f"its cells are chosen when all of '{two[0].name}' are finished: 4 of 6 are missing"
    )


def test_a_stage_that_was_never_begun_leaves_the_next_waiting(here: Site, two: list[Sweep]) -> None:
    assert "6 of 6 are missing" in (second(two, here).waits or "")


def test_cells_are_chosen_as_soon_as_all_before_them_are_finished(here: Site, two: list[Sweep]) -> None:
    finish(here, two[0].name, BLOCKS)
    found = second(two, here)
    assert found.waits is None
    assert [(cell.network.depth, cell.images.fraction) for cell in found.left] == [(2, 0.1), (2, 0.2)]


def test_the_choice_is_the_same_in_whatever_order_cells_finished(here: Site, two: list[Sweep]) -> None:
    finish(here, two[0].name, BLOCKS[::-1])
    assert [cell.network.depth for cell in second(two, here).left] == [2, 2]
    keys = [row["key"] for row in validation_rows(two[0], ledger.read(here, two[0].name), here)]
    assert keys == [cell.key for cell in BLOCKS]


def test_a_failed_cell_keeps_the_next_stage_waiting(here: Site, two: list[Sweep]) -> None:
    finish(here, two[0].name, BLOCKS[1:])
    store.fail(here, two[0].name, BLOCKS[0], "Traceback ...\nValueError: no", fault="own", attempts=1, tags={})
    assert "1 of 6 are missing" in (second(two, here).waits or "")
    assert "1 of 6 are missing" in (plans(two, here, ["failed"])[1].waits or "")


def test_a_stage_that_grew_makes_the_next_wait_and_choose_anew(here: Site, two: list[Sweep]) -> None:
    finish(here, two[0].name, BLOCKS)
    store.initialise(here, two[1].name)
    for cell in second(two, here).left:
        record(here, two[1].name, cell)
    more = grid(depth=4, seed=range(2), **common)
    blocks = Sweep(name=two[0].name, cells=[*BLOCKS, *more])
    grown = [blocks, Sweep(name=two[1].name, after=blocks, choose=fractions)]
    assert "2 of 8 are missing" in (second(grown, here).waits or "")
    for cell in more:
        record(here, blocks.name, cell, done=epochs(0.9))
    found = second(grown, here)
    assert [cell.network.depth for cell in found.left] == [4, 4]
    assert "2 finished cells are no longer declared" in found.changes[0]


def test_rows_hold_the_axes_the_rate_and_the_validation_scores_exactly(here: Site, two: list[Sweep]) -> None:
    finish(here, two[0].name, BLOCKS)
    row = validation_rows(two[0], ledger.read(here, two[0].name), here)[3]
    measured = {"lr_found": 1e-4, "best_val_accuracy": 0.8 + 1 / 100, "best_epoch": 2, "epochs_run": 2}
    assert row == {"key": BLOCKS[3].key} | BLOCKS[3].row() | measured


def test_nothing_of_the_test_part_and_no_time_reaches_the_choice(here: Site, two: list[Sweep]) -> None:
    finish(here, two[0].name, BLOCKS)
    rows = validation_rows(two[0], ledger.read(here, two[0].name), here)
    names = {name for row in rows for name in row}
    assert not [name for name in names if "test" in name or "second" in name]


def test_cells_of_an_earlier_declaration_are_not_chosen_from(here: Site, two: list[Sweep]) -> None:
    finish(here, two[0].name, BLOCKS)
    record(here, two[0].name, BLOCKS[0].replace(depth=4), done=epochs(0.99))
    assert [cell.network.depth for cell in second(two, here).left] == [2, 2]


def test_a_third_stage_waits_for_the_second(here: Site, two: list[Sweep]) -> None:
    third = Sweep(name="third", after=two[1], choose=lambda rows: grid(epochs=len(rows), **common))
    assert "whose own cells are not chosen yet" in (plans([*two, third], here)[2].waits or "")
    finish(here, two[0].name, BLOCKS)
    assert "2 of 2 are missing" in (plans([*two, third], here)[2].waits or "")
    store.initialise(here, two[1].name)
    for cell in plans([*two, third], here)[1].left:
        record(here, two[1].name, cell)
    assert [cell.recipe.epochs for cell in plans([*two, third], here)[2].left] == [2]


def test_chosen_cells_are_checked_like_any_others(here: Site, two: list[Sweep]) -> None:
    finish(here, two[0].name, BLOCKS)
    wrong = Sweep(name=two[1].name, after=two[0], choose=lambda rows: grid(**common | {"model": "resnet81"}))
    with pytest.raises(StudyError, match="model 'resnet81' is unknown"):
        second([two[0], wrong], here)


def test_a_source_among_the_finished_cells_can_be_chosen(here: Site, two: list[Sweep]) -> None:
    finish(here, two[0].name, BLOCKS)
    heirs = Sweep(
        name=two[1].name,
        after=two[0],
        choose=lambda rows: grid(source=f"cell:{rows[0]['key']}", depth=1, **common),
    )
    assert second([two[0], heirs], here).left[0].weights.source == f"cell:{BLOCKS[0].key}"


@pytest.mark.slow
def test_a_tracking_server_gives_the_same_rows_as_a_file(here: Site, two: list[Sweep], tmp_path: Path) -> None:
    finish(here, two[0].name, BLOCKS)
    port = free_port()
    with mlflow_server(tmp_path / "server", port):
        there = Site(data=here.data, cache=tmp_path / "c", storage=tmp_path / "s", tracking=f"http://127.0.0.1:{port}")
        store.initialise(there, two[0].name)
        finish(there, two[0].name, BLOCKS)
        rows = [validation_rows(two[0], ledger.read(site, two[0].name), site) for site in (here, there)]
    assert rows[0] == rows[1]
