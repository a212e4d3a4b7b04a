"""The record: real MLflow on SQLite."""

import subprocess
import sys
import zlib
from pathlib import Path

import pandas as pd
import pytest
from conftest import make_site

from sweeper import store
from sweeper.cell import Cell, Knn, make_cell, probe_key
from sweeper.outcome import Epoch, Outcome
from sweeper.site import Site

CELL = make_cell(dataset="digits", model="cbr_mini")
STUDY = "study"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = make_site(tmp_path_factory.mktemp("store"))
    store.initialise(site, STUDY)
    return site


@pytest.fixture
def cell(request: pytest.FixtureRequest) -> Cell:
    """A cell of this test's own."""
    return CELL.replace(seed=zlib.crc32(request.node.name.encode()) % 10**9)


def outcome(folder: Path) -> Outcome:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("best", "start"):
        (folder / f"{name}.safetensors").write_text(f"{name} state")
    pd.DataFrame({"image": ["a"], "score_0": [0.123456789012345]}).to_parquet(folder / "predictions.parquet")
    epochs = tuple(
        Epoch(number=n, train_loss=1 / n, scores={"accuracy": n / 7}, lr=0.1, seconds=1.5, images_per_second=9.0)
        for n in (1, 2)
    )
    return Outcome(epochs=epochs, best=epochs[1], test_scores={"accuracy": 1 / 3}, fingerprint="f", folder=folder)


def record(site: Site, cell: Cell) -> str:
    run_id = store.begin(site, STUDY, cell, {"sweeper.commit": "abc"})
    done = outcome(store.scratch(site, run_id))
    store.log_epochs(site, run_id, done.epochs)
    store.finish(site, run_id, done, 1e-3)
    return run_id


def runs_of(site: Site, cell: Cell) -> list:
    return [run for run in store.runs(site, STUDY) if run.data.tags[store.KEY] == cell.key]


def test_a_recorded_cell_is_finished(prepared: Site, cell: Cell) -> None:
    run_id = record(prepared, cell)
    found = store.finished(prepared, STUDY)[cell.key]
    assert (found.run_id, found.seconds, found.probes) == (run_id, 3.0, frozenset())


def test_the_quick_query_and_mlflow_agree(prepared: Site, cell: Cell) -> None:
    run_id = record(prepared, cell)
    store.log_probe(prepared, run_id, Knn(), pd.DataFrame({"value": [1.0]}))
    quick, slow = store._tags_in_sqlite(prepared, STUDY), store._tags_by_client(prepared, STUDY)
    assert quick.keys() == slow.keys()
    assert {k: v for k, v in slow[run_id].items() if k.startswith("sweeper.") and k != store.CELL} == quick[run_id]


def test_a_begun_cell_is_not_finished(prepared: Site, cell: Cell) -> None:
    store.begin(prepared, STUDY, cell, {})
    assert cell.key not in store.finished(prepared, STUDY)


def test_a_retried_cell_has_one_run(prepared: Site, cell: Cell) -> None:
    first = store.begin(prepared, STUDY, cell, {})
    outcome(store.scratch(prepared, first))
    second = record(prepared, cell)
    assert [run.info.run_id for run in runs_of(prepared, cell)] == [second]
    assert not store.scratch(prepared, first).exists()


def test_a_failed_cell_keeps_its_traceback_and_is_not_finished(prepared: Site, cell: Cell) -> None:
    run_id = store.begin(prepared, STUDY, cell, {})
    store.fail_unfinished(prepared, STUDY, cell, "Traceback ...\nValueError: no")
    assert cell.key not in store.finished(prepared, STUDY)
    assert store.artifact(prepared, run_id, "error.txt").read_text().endswith("ValueError: no")


def test_numbers_are_kept_to_the_last_bit(prepared: Site, cell: Cell) -> None:
    record(prepared, cell)
    (run,) = runs_of(prepared, cell)
    assert run.data.metrics["test_accuracy"] == 1 / 3
    assert run.data.metrics["best_val_accuracy"] == 2 / 7
    assert run.data.metrics["best_epoch"] == 2


def test_every_axis_is_a_parameter(prepared: Site, cell: Cell) -> None:
    record(prepared, cell)
    (run,) = runs_of(prepared, cell)
    assert cell.row().keys() | {"lr_found"} == run.data.params.keys()
    assert run.data.params["model"] == "cbr_mini"
    assert Cell.from_json(run.data.tags[store.CELL]) == cell


def test_states_are_found_by_key(prepared: Site, cell: Cell) -> None:
    record(prepared, cell)
    assert store.state_path(cell.key, "best", prepared).read_text() == "best state"
    assert store.state_path(cell.key, "start", prepared).read_text() == "start state"


def test_an_unknown_key_is_refused(prepared: Site) -> None:
    with pytest.raises(LookupError, match="cell 0123 has no finished run"):
        store.state_path("0123", "best", prepared)


def test_a_probe_counts_once_its_rows_are_stored(prepared: Site, cell: Cell) -> None:
    run_id = record(prepared, cell)
    rows = pd.DataFrame({"block": [1, 2], "value": [0.1, 0.2]})
    store.log_probe(prepared, run_id, Knn(k=3), rows)
    assert store.finished(prepared, STUDY)[cell.key].probes == {probe_key(Knn(k=3))}
    path = store.artifact(prepared, run_id, f"probes/knn-{probe_key(Knn(k=3))}.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(path), rows)


def test_registering_twice_makes_one_version(prepared: Site, cell: Cell) -> None:
    run_id = record(prepared, cell)
    first, second = (store.register(prepared, "source", cell.key, run_id) for _ in range(2))
    assert first == second
    assert store.registered_path("source", first, prepared).read_text() == "best state"


def test_an_unknown_version_names_those_there_are(prepared: Site, cell: Cell) -> None:
    store.register(prepared, "other", cell.key, record(prepared, cell))
    with pytest.raises(LookupError, match=r"registry:other/9 is not in .*; versions of 'other': 1"):
        store.registered_path("other", "9", prepared)


def test_an_unknown_study_names_those_there_are(prepared: Site) -> None:
    with pytest.raises(LookupError, match=r"no study 'stduy'.*study"):
        store.runs(prepared, "stduy")


def test_a_study_never_begun_has_nothing_finished_and_leaves_no_file(site: Site) -> None:
    assert store.finished(site, "new") == {}
    assert not site.storage.exists()


def test_processes_that_write_at_once_all_succeed(prepared: Site, tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[4]); from pathlib import Path; import test_store as t; "
        "site = t.make_site(Path(sys.argv[1])); "
        "first = 10**9 + int(sys.argv[2]) * 100; epochs = int(sys.argv[3]); "
        "[t.record(site, t.CELL.replace(seed=seed, epochs=epochs)) for seed in range(first, first + 4)]"
    )
    root = str(prepared.storage.parent)
    command = [sys.executable, "-c", code, root]
    writers = [subprocess.Popen([*command, str(n), "77", str(Path(__file__).parent)]) for n in range(4)]
    assert [writer.wait(timeout=120) for writer in writers] == [0] * 4
    written = [r for r in store.runs(prepared, STUDY) if r.data.params["epochs"] == "77"]
    assert len({run.data.tags[store.KEY] for run in written}) == len(written) == 16
