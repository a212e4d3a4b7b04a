"""What a queue does with a search that has ended: its cells get the rate, and MLflow all that was tried, once."""

from pathlib import Path

import mlflow
import pandas as pd
import pytest
from queueing import CELL, SEARCH, Begin, Queue, seeds

from sweeper import ledger, store
from sweeper.cell import Cell, LrSearch
from sweeper.job import RateJob, Report
from sweeper.lease import LeaseLostError
from sweeper.outcome import RateTrial
from sweeper.rates import Searches
from sweeper.recording import record_searches
from sweeper.site import Site

SEARCHED = CELL.replace(lr=SEARCH)
RANGE = CELL.replace(lr=LrSearch(low=1e-5, high=1e-1, trials=9, method="range_test"))
FALLING = (2.3, 2.31, 2.29, 2.3, 2.0, 1.2, 0.9, 0.88, 0.9)
TABLE = pd.DataFrame({"number": [0], "lr": [1e-3], "chosen": [True]})


@pytest.fixture
def study(prepared: Site, request: pytest.FixtureRequest) -> str:
    """A study of this test's own."""
    store.initialise(prepared, request.node.name)
    return request.node.name


def recorded(queue: Queue) -> list[tuple[dict[str, str], pd.DataFrame]]:
    """Tags and table of each search."""
    queue.recorder.flush()
    runs = store.searches(queue.site, queue.study)
    return [(r.data.tags, pd.read_parquet(store.artifact(queue.site, r.info.run_id, store.RATES))) for r in runs]


def climb(queue: Queue, losses: tuple[float, ...]) -> None:
    told = RateTrial(scores=(), losses=losses, higher=False, diverged=None, seconds=1.0)
    queue.jobs.ended(queue.take_trial(), Report(told=told))


def log(site: Site, study: str, check_lease: object = lambda: None) -> str:
    return store.log_search(site, study, SEARCHED, lr=1e-3, table=TABLE, tags={}, check_lease=check_lease)  # type: ignore[arg-type]


def test_a_search_that_has_ended_is_recorded_with_all_its_trials(begin: Begin) -> None:
    queue = begin(seeds(2, SEARCHED))
    queue.finish_all()
    ((tags, table),) = recorded(queue)
    assert (tags[store.SETTING], Cell.from_json(tags[store.CELL])) == (SEARCHED.setting(), SEARCHED)
    assert tags["sweeper.commit"] == "abc"
    assert table["lr"].tolist() == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])
    assert table["score"].tolist() == pytest.approx([1 - abs(lr - 1e-3) for lr in table["lr"]])
    assert table.loc[table["chosen"], "lr"].tolist() == [float(tags[store.LR_FOUND])]


def test_the_cells_of_a_range_test_are_trained_at_the_rate_of_its_steepest_fall(begin: Begin) -> None:
    queue = begin(seeds(3, RANGE))
    climb(queue, FALLING)
    assert [queue.take_cell().lr for _ in range(3)] == pytest.approx([10**-2.5] * 3)
    ((tags, table),) = recorded(queue)
    assert float(tags[store.LR_FOUND]) == pytest.approx(10**-2.5)
    assert table["train_loss"].tolist() == list(FALLING)


def test_the_cells_of_a_range_test_without_a_fall_fail_and_say_so(begin: Begin) -> None:
    queue = begin(seeds(2, RANGE))
    climb(queue, (2.3, 2.2, 2.3, 2.4, 2.2, 2.3, 2.5, 2.2, 2.3))
    assert not queue.jobs.left
    sentence = "no rate found: in the range test from 1e-05 to 0.1 the training loss does not fall by more than chance"
    assert all(each.error.startswith(sentence) for each in queue.records().failed.values())
    ((tags, table),) = recorded(queue)
    assert tags[store.LR_FOUND] == "None"
    assert not table["chosen"].any()


def test_a_search_of_which_every_trial_diverged_is_recorded_too(begin: Begin) -> None:
    queue = begin([SEARCHED])
    for _ in range(4):
        queue.diverge(queue.take_trial())
    ((_, table),) = recorded(queue)
    assert table["diverged"].tolist() == ["epoch 1"] * 4
    assert table["score"].isna().all()


def test_an_ended_search_has_one_record_however_often_its_study_is_run(begin: Begin) -> None:
    for count in (1, 2, 3):
        queue = begin(seeds(count, SEARCHED))
        queue.finish_all()
    assert len(recorded(queue)) == 1


def test_a_search_that_was_half_recorded_is_recorded_again(prepared: Site, study: str) -> None:
    client = store.client_of(prepared.tracking)
    half = client.create_run(store.experiment_of(client, study), tags={store.SETTING: SEARCHED.setting()})
    assert log(prepared, study) != half.info.run_id
    assert client.get_run(half.info.run_id).info.lifecycle_stage == "deleted"
    assert len(store.searches(prepared, study)) == 1


def test_a_driver_without_the_lease_records_no_search(prepared: Site, study: str) -> None:
    def lost() -> None:
        raise LeaseLostError("taken over")

    with pytest.raises(LeaseLostError):
        log(prepared, study, lost)
    assert store.searches(prepared, study) == []


def test_a_searchs_run_is_no_cell(prepared: Site, study: str) -> None:
    log(prepared, study)
    assert ledger.read(prepared, study).finished == {}
    assert store.tags(prepared, study) == {}


def test_a_search_that_ended_while_mlflow_was_away_is_recorded_later(begin: Begin, tmp_path: Path) -> None:
    """Its driver was killed before MLflow came back, and all its cells were trained by then."""
    cells = seeds(2, SEARCHED)
    queue = begin(cells)
    while isinstance(job := queue.take(), RateJob):
        queue.finish(job)
    for run in queue.recorder.flush() or store.searches(queue.site, queue.study):
        mlflow.MlflowClient(queue.site.tracking).delete_run(run.info.run_id)
    for _ in range(2):
        told = {"tags": {"sweeper.commit": "abc"}, "check_lease": lambda: None}
        record_searches(Searches(cells, tmp_path / "rates.db"), queue.site, queue.study, **told)
        ((tags, table),) = recorded(queue)
    assert float(tags[store.LR_FOUND]) == pytest.approx(1e-3)
    assert len(table) == 4


def test_a_search_that_goes_on_is_not_recorded(begin: Begin, tmp_path: Path) -> None:
    queue = begin([SEARCHED])
    queue.finish(queue.take())
    record_searches(
        Searches([SEARCHED], tmp_path / "rates.db"), queue.site, queue.study, tags={}, check_lease=lambda: None
    )
    assert not recorded(queue)
