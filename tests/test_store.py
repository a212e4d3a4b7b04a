"""The record: real MLflow on SQLite."""

import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import recorded
from conftest import make_site
from mlflow.exceptions import MlflowException

from sweeper import ledger, store
from sweeper.cell import Cell, Knn, make_cell, probe_key
from sweeper.ledger import Records
from sweeper.outcome import Fault
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


def record(site: Site, cell: Cell) -> str:
    return recorded.record(site, STUDY, cell)


def runs_of(site: Site, cell: Cell) -> list:
    return [run for run in store.runs(site, STUDY) if run.data.tags[store.KEY] == cell.key]


def fail(site: Site, cell: Cell, fault: Fault = "own", attempts: int = 1) -> None:
    store.fail(site, STUDY, cell, "Traceback ...\nValueError: no", fault=fault, attempts=attempts, tags={})


def start(site: Site, cell: Cell) -> str:
    """An open run, as a driver that dies while it records leaves it."""
    return store.create(store.client_of(site.tracking), STUDY, cell, {})


def test_a_recorded_cell_is_finished(prepared: Site, cell: Cell) -> None:
    run_id = record(prepared, cell)
    found = ledger.read(prepared, STUDY).finished[cell.key]
    assert (found.run_id, found.seconds, found.epochs, found.probes) == (run_id, 3.0, 2, frozenset())
    assert (found.fingerprint, found.cell) == ("f", cell)


def test_the_quick_query_and_mlflow_agree(prepared: Site, cell: Cell, tmp_path: Path) -> None:
    run_id = record(prepared, cell)
    store.log_probe(prepared, run_id, Knn(), pd.DataFrame({"value": [1.0]}), tmp_path)
    fail(prepared, cell.replace(fold=1))
    quick, slow = ledger._tags_in_sqlite(prepared, STUDY), store.tags(prepared, STUDY)
    assert quick.keys() == slow.keys()
    for run_id, tags in quick.items():
        left_out = ("mlflow.", "sweeper.version")
        assert {name: value for name, value in slow[run_id].items() if not name.startswith(left_out)} == tags


def test_an_open_run_is_not_finished(prepared: Site, cell: Cell) -> None:
    start(prepared, cell)
    assert cell.key not in ledger.read(prepared, STUDY).finished


def test_a_cell_recorded_twice_has_one_run(prepared: Site, cell: Cell) -> None:
    start(prepared, cell)
    first, second = record(prepared, cell), record(prepared, cell)
    assert first == second
    assert [run.info.run_id for run in runs_of(prepared, cell)] == [first]


def test_a_driver_that_lost_the_study_cannot_finish_its_run(prepared: Site, cell: Cell) -> None:
    run_id = start(prepared, cell)
    store.drop_unfinished(prepared, STUDY)
    with pytest.raises(MlflowException, match="active"):
        store.client_of(prepared.tracking).set_terminated(run_id, "FINISHED")
    assert cell.key not in ledger.read(prepared, STUDY).finished


def test_a_lost_lease_keeps_a_cell_from_being_finished(prepared: Site, cell: Cell, tmp_path: Path) -> None:
    def lost() -> None:
        raise RuntimeError("lost")

    folder = recorded.sealed_folder(tmp_path / "cell", cell)
    with pytest.raises(RuntimeError, match="lost"):
        store.publish(prepared, STUDY, folder, lost)
    assert cell.key not in ledger.read(prepared, STUDY).finished
    assert (folder / "manifest.json").exists()


def test_a_failed_cell_keeps_its_traceback_and_fault(prepared: Site, cell: Cell) -> None:
    fail(prepared, cell, "system", 2)
    records = ledger.read(prepared, STUDY)
    failed = records.failed[cell.key]
    assert cell.key not in records.finished
    assert (failed.fault, failed.attempts) == ("system", 2)
    assert store.artifact(prepared, failed.run_id, "error.txt").read_text().endswith("ValueError: no")


def test_a_cell_that_failed_before_is_finished_afterwards(prepared: Site, cell: Cell) -> None:
    fail(prepared, cell)
    record(prepared, cell)
    records = ledger.read(prepared, STUDY)
    assert cell.key in records.finished
    assert cell.key not in records.failed


def test_a_forgotten_cell_is_not_finished(prepared: Site, cell: Cell) -> None:
    store.forget(prepared, record(prepared, cell))
    assert cell.key not in ledger.read(prepared, STUDY).finished


def test_a_store_that_comes_back_is_waited_for(site: Site) -> None:
    calls = []

    def call() -> str:
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionRefusedError("not yet")
        return "here"

    assert store.patiently(call, site) == "here"


def test_a_store_that_stays_away_is_one_sentence(site: Site) -> None:
    away = replace(site, tracking="http://127.0.0.1:9", patience=0.0)
    with pytest.raises(
        ConnectionError, match=r"MLflow at http://127.0.0.1:9 has not taken .*run the same command again"
    ):
        store.patiently(lambda: store.initialise(away, "study"), away)


def test_a_file_that_is_gone_is_not_waited_for(site: Site) -> None:
    calls = []

    def call() -> bytes:
        calls.append(1)
        return (site.storage / "gone").read_bytes()

    with pytest.raises(FileNotFoundError):
        store.patiently(call, site)
    assert len(calls) == 1


def test_a_mistake_is_not_waited_for(prepared: Site) -> None:
    with pytest.raises(LookupError, match="no study 'other'"):
        store.patiently(lambda: store.runs(prepared, "other"), prepared)


def test_numbers_are_kept_to_the_last_bit(prepared: Site, cell: Cell) -> None:
    record(prepared, cell)
    (run,) = runs_of(prepared, cell)
    assert run.data.metrics["test_accuracy"] == 1 / 3
    assert run.data.metrics["best_val_accuracy"] == 2 / 7
    assert run.data.metrics["best_epoch"] == 2


def test_every_axis_is_a_parameter(prepared: Site, cell: Cell) -> None:
    record(prepared, cell)
    (run,) = runs_of(prepared, cell)
    assert cell.row().keys() | {"lr_found", "parts"} == run.data.params.keys()
    assert run.data.params["model"] == "cbr_mini"
    assert Cell.from_json(run.data.tags[store.CELL]) == cell


def test_states_are_found_by_key(prepared: Site, cell: Cell) -> None:
    record(prepared, cell)
    assert store.state_path(cell.key, "best", prepared).read_text() == "best state"
    assert store.state_path(cell.key, "start", prepared).read_text() == "start state"


def test_an_unknown_key_is_refused(prepared: Site) -> None:
    with pytest.raises(LookupError, match="cell 0123 has no finished run"):
        store.state_path("0123", "best", prepared)


def test_a_probe_counts_once_its_rows_are_stored(prepared: Site, cell: Cell, tmp_path: Path) -> None:
    run_id = record(prepared, cell)
    rows = pd.DataFrame({"block": [1, 2], "value": [0.1, 0.2]})
    store.log_probe(prepared, run_id, Knn(k=3), rows, tmp_path)
    assert ledger.read(prepared, STUDY).finished[cell.key].probes == {probe_key(Knn(k=3))}
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
    assert ledger.read(site, "new") == Records()
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
