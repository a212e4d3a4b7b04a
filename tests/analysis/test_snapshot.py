"""The columnar copy against MLflow's own listing of a real store that changes under it."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import recorded
from conftest import make_site
from pandas.testing import assert_frame_equal

from analysis import cells, frames, snapshot
from sweeper import cell_runs, store
from sweeper.cell import L2, Cell, Knn, LrSearch, make_cell, probe_key
from sweeper.grid import grid
from sweeper.site import Site

STUDY = "growing"
CELLS = grid(dataset="breastmnist", model="resnet10t", source=["imagenet", "random"], seed=range(4))
SEARCHED = make_cell(dataset="breastmnist", model="resnet10t", lr=LrSearch(low=1e-4, high=1e-2, trials=4))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = make_site(tmp_path_factory.mktemp("template"))
    store.initialise(site, STUDY)
    for cell in CELLS:
        recorded.record(site, STUDY, cell)
    return site


@pytest.fixture
def site(template: Site, tmp_path: Path) -> Site:
    """A copy of the recorded study, which knows where it lies now: recording it for each test would take long."""
    site = make_site(tmp_path)
    shutil.copytree(template.storage, site.storage)
    moved = (str(template.storage), str(site.storage))
    with sqlite3.connect(site.storage / "mlflow.db") as connection:
        connection.execute("UPDATE runs SET artifact_uri = replace(artifact_uri, ?, ?)", moved)
        connection.execute("UPDATE experiments SET artifact_location = replace(artifact_location, ?, ?)", moved)
    return site


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The ids of the runs that are read from MLflow's tables, as they are read."""
    found: list[str] = []
    of = cell_runs.Runs.read

    def noted(self: cell_runs.Runs, run_ids: list[str]) -> dict[str, cell_runs.CellRun]:
        found.extend(run_ids)
        return of(self, run_ids)

    monkeypatch.setattr(cell_runs.Runs, "read", noted)
    return found


def as_mlflow_lists(site: Site) -> pd.DataFrame:
    return cells._on_server(STUDY, site).rows


def agrees(site: Site) -> bool:
    assert_frame_equal(frames.runs(STUDY, site), as_mlflow_lists(site))
    return True


def run_of(site: Site, cell: Cell) -> str:
    return frames.runs(STUDY, site).set_index("key").loc[cell.key, "run_id"]


def test_it_gives_what_mlflow_lists_when_made_and_when_read(site: Site) -> None:
    assert agrees(site)
    assert snapshot.path_of(site, STUDY, "runs").exists()
    assert agrees(site)


def test_nothing_is_read_again_while_nothing_changes(site: Site, read: list[str]) -> None:
    frames.runs(STUDY, site)
    assert len(read) == len(CELLS)
    frames.runs(STUDY, site)
    assert len(read) == len(CELLS)


def test_only_a_new_run_is_read(site: Site, read: list[str]) -> None:
    frames.runs(STUDY, site)
    read.clear()
    run_id = recorded.record(site, STUDY, CELLS[0].replace(seed=9))
    assert agrees(site)
    assert read == [run_id]


def test_a_deleted_run_vanishes_and_one_that_is_restored_comes_back(site: Site) -> None:
    run_id = run_of(site, CELLS[2])
    store.forget(site, run_id)
    assert CELLS[2].key not in set(frames.runs(STUDY, site)["key"])
    assert agrees(site)
    store.client_of(site.tracking).restore_run(run_id)
    assert run_of(site, CELLS[2]) == run_id
    assert agrees(site)


def test_a_run_that_was_tried_again_gives_way_to_its_second_attempt(site: Site) -> None:
    first = run_of(site, CELLS[1])
    store.forget(site, first)
    second = recorded.record(site, STUDY, CELLS[1], test_scores={"accuracy": 0.75})
    assert run_of(site, CELLS[1]) == second != first
    assert agrees(site)


def test_a_number_that_is_logged_later_is_seen(site: Site, read: list[str]) -> None:
    run_id = run_of(site, CELLS[0])
    read.clear()
    store.client_of(site.tracking).log_metric(run_id, "test_accuracy", 0.125)
    assert frames.runs(STUDY, site).set_index("run_id").loc[run_id, "test_accuracy"] == 0.125
    assert read == [run_id]
    assert agrees(site)


@pytest.mark.parametrize("tag", [store.FINGERPRINT, store.LR_FOUND, "sweeper.commit"])
def test_a_tag_that_is_changed_later_is_seen(site: Site, tag: str) -> None:
    run_id = run_of(site, CELLS[0])
    store.client_of(site.tracking).set_tag(run_id, tag, "0.5")
    assert agrees(site)
    column = frames.runs(STUDY, site).set_index("run_id").loc[run_id, tag.removeprefix("sweeper.")]
    assert str(column) == "0.5"


def test_a_column_goes_with_the_last_run_that_has_it(site: Site) -> None:
    searched = recorded.record(site, STUDY, SEARCHED, test_scores={"accuracy": 0.5, "kappa": float("nan")})
    with_it = frames.runs(STUDY, site)
    assert {"lr_low", "test_kappa"} < set(with_it)
    assert with_it["test_kappa"].isna().all()
    assert agrees(site)
    store.forget(site, searched)
    assert not {"lr_low", "test_kappa"} & set(frames.runs(STUDY, site))
    assert agrees(site)


def test_where_mlflow_has_removed_numbers_for_good_all_is_read_anew(site: Site, read: list[str]) -> None:
    """As `mlflow gc` does; the numbers of rows that it frees are given to others."""
    last = run_of(site, CELLS[-1])
    read.clear()
    with sqlite3.connect(site.storage / "mlflow.db") as connection:
        connection.execute("DELETE FROM metrics WHERE run_uuid = ?", (last,))
    store.client_of(site.tracking).log_metric(run_of(site, CELLS[0]), "test_accuracy", 0.25)
    assert agrees(site)
    assert set(read) == set(frames.runs(STUDY, site)["run_id"])


@pytest.mark.parametrize("kind", ["runs", "epochs"])
@pytest.mark.parametrize("damage", ["cut", "empty", "foreign", "5", "99", "1234"])
def test_a_torn_copy_is_named_and_made_anew(site: Site, kind: str, damage: str) -> None:
    of = {"runs": frames.runs, "epochs": frames.epochs}[kind]
    whole = of(STUDY, site)
    path = snapshot.path_of(site, STUDY, kind)
    content = path.read_bytes()
    if damage.isdigit():
        place = int(damage) % len(content)
        path.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
    else:
        path.write_bytes(content[:-100] if damage == "cut" else b"")
    if damage == "foreign":
        pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.warns(UserWarning, match=rf"{kind}\.parquet is torn .*made anew"):
        assert_frame_equal(of(STUDY, site), whole)
    assert_frame_equal(of(STUDY, site), whole)  # no warning any more: pytest would fail on it below
    assert snapshot.load(path, "none") is None


def test_a_copy_in_another_form_is_made_anew_in_silence(site: Site, recwarn: pytest.WarningsRecorder) -> None:
    whole = frames.runs(STUDY, site)
    path = snapshot.path_of(site, STUDY, "runs")
    snapshot.save(path, snapshot.Snapshot(rows=whole.head(1), stamps={"a": "b"}), "the columns of an older version")
    assert_frame_equal(frames.runs(STUDY, site), whole)
    assert not [each for each in recwarn if "torn" in str(each.message)]


def test_readers_at_once_all_read_the_whole_study(site: Site) -> None:
    wanted = as_mlflow_lists(site)
    found: list[pd.DataFrame] = []
    ready = threading.Barrier(4)

    def look() -> None:
        ready.wait()
        found.append(frames.runs(STUDY, site))

    for round_ in range(3):
        snapshot.path_of(site, STUDY, "runs").unlink(missing_ok=True)
        threads = [threading.Thread(target=look) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert len(found) == 4 * (round_ + 1)
    for each in found:
        assert_frame_equal(each, wanted)
    assert agrees(site)


def test_what_a_killed_writer_left_is_in_nobodys_way(site: Site) -> None:
    path = snapshot.path_of(site, STUDY, "runs")
    path.parent.mkdir(parents=True)
    path.with_suffix(".unfinished").write_bytes(b"half")
    assert agrees(site)
    assert sorted(each.name for each in path.parent.iterdir()) == ["runs.lock", "runs.parquet"]


def test_epochs_and_probes_are_copied_and_kept_in_step(tmp_path: Path) -> None:
    site = make_site(tmp_path)  # no moved copy: MLflow remembers where the files of a run lie
    store.initialise(site, STUDY)
    first, second = recorded.record(site, STUDY, CELLS[0]), recorded.record(site, STUDY, CELLS[1])
    value = pd.DataFrame({"probe": ["l2"], "probe_key": ["k"], "block": [1], "metric": ["l2"], "value": [0.5]})
    store.log_probe(site, first, L2(), value, tmp_path)
    assert frames.probes(STUDY, site)["value"].tolist() == [0.5]
    store.log_probe(site, second, Knn(), value.assign(probe="knn", value=0.25), tmp_path)
    assert sorted(frames.probes(STUDY, site)["value"]) == [0.25, 0.5]
    store.forget_probe(site, first, probe_key(L2()))
    assert frames.probes(STUDY, site)["value"].tolist() == [0.25]
    store.log_probe(site, first, L2(), value.assign(value=0.75), tmp_path)  # probed again: only its sha256 differs
    assert sorted(frames.probes(STUDY, site)["value"]) == [0.25, 0.75]
    before = frames.epochs(STUDY, site)
    store.forget(site, second)
    after = frames.epochs(STUDY, site)
    assert_frame_equal(after, before[before["key"] != CELLS[1].key].reset_index(drop=True))


def test_epochs_are_read_from_the_copy(site: Site) -> None:
    before = frames.epochs(STUDY, site)
    for path in (site.storage / "artifacts").rglob("epochs.parquet"):
        path.unlink()
    assert_frame_equal(frames.epochs(STUDY, site), before)


def test_where_one_may_not_write_one_may_still_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "access", lambda *_: False)  # a test may run as root, who may write anywhere
    assert agrees(site)
    assert not site.study(STUDY).exists()


def test_runs_of_every_kind_agree_with_mlflow(tmp_path: Path) -> None:
    """Of several depths, metrics, NaN and infinities, with runs that failed, are open or were deleted among them."""
    site = make_site(tmp_path)
    store.initialise(site, STUDY)
    every = grid(dataset="breastmnist", model="resnet10t", depth=[1, 2, None], lr=[1e-3, 1e-2], seed=range(10))
    odd = [float("nan"), float("inf"), -0.0, 1 / 3]
    runs = [recorded.record(site, STUDY, cell, test_scores={"nll": odd[n % 4]}) for n, cell in enumerate(every)]
    for run_id in runs[::10]:
        store.forget(site, run_id)
    store.fail(site, STUDY, every[0], "no", fault="own", attempts=1, tags={})
    store.create(store.client_of(site.tracking), STUDY, every[10], {})
    assert len(frames.runs(STUDY, site)) == len(every) - len(runs[::10]) == 54
    assert agrees(site)
    assert agrees(site)


def test_a_notebook_needs_neither_torch_nor_ray_nor_mlflow(site: Site) -> None:
    code = """
import sys
for name in ("torch", "torchvision", "ray", "timm", "optuna", "mlflow"):
    sys.modules[name] = None  # importing it fails
from analysis import frames
print(len(frames.runs(["growing"])), len(frames.epochs("growing")), len(frames.predictions("growing")))
"""
    known = {**os.environ, "SWEEPER_STORAGE": str(site.storage), "MLFLOW_TRACKING_URI": ""}
    told = subprocess.run([sys.executable, "-c", code], env=known, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout.split()) == (0, ["8", "16", "8"]), told.stderr
