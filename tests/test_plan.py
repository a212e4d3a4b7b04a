"""What is left of a study: real stores, real image folders, and one study of 20,000 cells."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import environment_of, make_site
from PIL import Image
from recorded import epochs, record
from rich.console import Console

from sweeper import data, ledger, store
from sweeper.cell import L2, Cell, Cka, Knn, LrSearch, make_cell
from sweeper.data.cache import cached, fingerprint
from sweeper.data.split_files import digests_of
from sweeper.grid import Sweep, load
from sweeper.outcome import ATTEMPTS, Fault
from sweeper.plan import Plan, as_table, attempts, plan
from sweeper.run import main
from sweeper.site import Site

CELL = make_cell(dataset="busi", model="cbr_mini", lr=1e-3, size=8)
"""Of a set that does not lie in any test's data folder."""
SEARCH = LrSearch(low=1e-5, high=1e-2, trials=6)
ROOT = Path(__file__).parents[1]
LARGE = """
from sweeper import LrSearch, Sweep, grid
sweep = Sweep(
    name="large",
    cells=grid(dataset="digits", model=["cbr_mini", "resnet50"], depth=[1, 2], size=32,
               fraction=[0.1, 0.2, 0.3, 0.5, 1.0], fold=range(1, 6), seed=range(200),
               lr=LrSearch(low=1e-5, high=1e-2, trials=12)),
)
"""
PEAK = """
import sys
from pathlib import Path
from sweeper.run import main
code = main([sys.argv[1], "--plan"])
print(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
sys.exit(code)
"""


@pytest.fixture
def here(root: Path, tmp_path: Path) -> Site:
    """A site whose images are this test's own."""
    return make_site(root, tmp_path)


@pytest.fixture
def study(here: Site, request: pytest.FixtureRequest) -> str:
    """A study of this test's own."""
    store.initialise(here, request.node.name)
    return request.node.name


def seeds(count: int, cell: Cell = CELL) -> list[Cell]:
    return [cell.replace(seed=seed) for seed in range(count)]


def fail(site: Site, study: str, cell: Cell, fault: Fault = "own", times: int = 1) -> None:
    store.fail(site, study, cell, "Traceback ...\nValueError: no", fault=fault, attempts=times, tags={})


def row(found: Plan) -> dict[str, str]:
    """The line that a person reads, by column."""
    console = Console(width=200)
    with console.capture() as shown:
        console.print(as_table([found]))
    names, values = shown.get().splitlines()
    return dict(zip(names.split(), values.split(), strict=True))


def write_images(folder: Path, shade: int) -> None:
    """An image set of three parts and two classes."""
    for part in ("train", "val", "test"):
        for place, name in enumerate(("benign", "malignant")):
            (folder / part / name).mkdir(parents=True, exist_ok=True)
            pixels = np.full((8, 8, 3), shade + place, np.uint8)
            Image.fromarray(pixels).save(folder / part / name / "0.png")


def test_everything_of_a_study_never_begun_is_left(here: Site) -> None:
    found = plan(Sweep(name="never", cells=seeds(3)), here)
    assert (found.left, found.failed, found.stale, found.changes) == (tuple(seeds(3)), (), (), ())
    assert found.seconds is None


def test_a_plan_makes_no_file(site: Site) -> None:
    plan(Sweep(name="never", cells=seeds(3)), site)
    assert not site.storage.exists()


def test_a_finished_cell_is_not_left(here: Site, study: str) -> None:
    record(here, study, CELL)
    assert plan(Sweep(name=study, cells=seeds(3)), here).left == tuple(seeds(3)[1:])


def test_the_table_counts_what_is_done_left_failed_and_stale(here: Site, study: str) -> None:
    for cell in seeds(3):
        record(here, study, cell)
    fail(here, study, CELL.replace(seed=3))
    fail(here, study, CELL.replace(seed=4), "system")
    told = row(plan(Sweep(name=study, cells=seeds(9)), here))
    assert {name: told[name] for name in ("study", "cells", "done", "left", "failed", "stale")} == {
        "study": study,
        "cells": "9",
        "done": "3",
        "left": "5",
        "failed": "1",
        "stale": "0",
    }


@pytest.mark.parametrize("fault", ["own", "memory"])
def test_a_cell_that_failed_by_itself_is_run_again_only_when_asked_for(here: Site, study: str, fault: Fault) -> None:
    fail(here, study, CELL, fault)
    sweep = Sweep(name=study, cells=[CELL])
    assert (plan(sweep, here).left, plan(sweep, here).failed) == ((), (CELL,))
    assert (plan(sweep, here, ("failed",)).left, plan(sweep, here, ("failed",)).failed) == ((CELL,), ())


@pytest.mark.parametrize("times", range(1, ATTEMPTS + 1))
def test_a_cell_whose_process_died_is_run_again_until_its_last_attempt(here: Site, study: str, times: int) -> None:
    fail(here, study, CELL, "system", times)
    found = plan(Sweep(name=study, cells=[CELL]), here)
    assert (found.left, found.failed) == (((CELL,), ()) if times < ATTEMPTS else ((), (CELL,)))


def test_attempts_count_on_until_failed_cells_are_asked_for(here: Site, study: str) -> None:
    fail(here, study, CELL, "system", 2)
    fail(here, study, CELL.replace(seed=1), "own")
    records = ledger.read(here, study)
    assert attempts(records, ()) == {CELL.key: 2}
    assert attempts(records, ("failed",)) == {}


def test_a_failure_of_an_older_commit_is_run_again(here: Site, study: str) -> None:
    """It recorded neither a fault nor attempts."""
    fail(here, study, CELL)
    run_id, client = ledger.read(here, study).failed[CELL.key].run_id, store.client_of(here.tracking)
    for tag in (store.FAULT, store.ATTEMPTS):
        client.delete_tag(run_id, tag)
    assert plan(Sweep(name=study, cells=[CELL]), here).left == (CELL,)


def test_a_cell_that_finished_after_it_failed_is_neither_left_nor_failed(here: Site, study: str) -> None:
    fail(here, study, CELL)
    record(here, study, CELL)
    found = plan(Sweep(name=study, cells=[CELL]), here)
    assert (found.left, found.failed) == ((), ())


def test_a_finished_cell_whose_images_have_changed_is_stale(here: Site, study: str) -> None:
    images = data.DATASETS["folder:lesions"]
    write_images(here.data / "lesions", 10)
    then = cached(images, 8, here).fingerprint
    cell, other = (CELL.replace(dataset="folder:lesions", seed=seed) for seed in range(2))
    record(here, study, cell, fingerprint=then)
    sweep = Sweep(name=study, cells=[cell, other])
    assert plan(sweep, here).stale == ()
    write_images(here.data / "lesions", 90)
    now = cached(images, 8, here).fingerprint
    assert now != then
    found = plan(sweep, here)
    assert (found.stale, found.left) == ((cell,), (other,))
    (change,) = found.changes
    assert change == (
        f"1 finished cells are stale: the images of 'folder:lesions' at 8 px have changed "
        f"(fingerprint {then} then, {now} now)"
    )
    assert plan(sweep, here, ("stale",)).left == (cell, other)


def test_images_that_are_not_decoded_again_yet_make_nothing_stale(here: Site, study: str) -> None:
    write_images(here.data / "lesions", 10)
    cell = CELL.replace(dataset="folder:lesions")
    record(here, study, cell, fingerprint=cached(data.DATASETS["folder:lesions"], 8, here).fingerprint)
    write_images(here.data / "lesions", 90)
    assert plan(Sweep(name=study, cells=[cell]), here).stale == ()


def test_a_cell_recorded_without_a_fingerprint_is_not_stale(here: Site, study: str) -> None:
    """By an older commit."""
    write_images(here.data / "lesions", 10)
    cached(data.DATASETS["folder:lesions"], 8, here)
    cell = CELL.replace(dataset="folder:lesions")
    store.client_of(here.tracking).delete_tag(record(here, study, cell), store.FINGERPRINT)
    assert plan(Sweep(name=study, cells=[cell]), here).stale == ()


def test_a_finished_cell_whose_split_files_have_changed_is_stale_and_the_file_is_named(here: Site, study: str) -> None:
    for fold in (1, 2):
        for part in data.dataset.PARTS:
            (here.data / "cut").mkdir(exist_ok=True)
            (here.data / "cut" / f"{part}_fold{fold}.csv").write_text(f"path\n{part}_{fold}.png\n")
    cells = [CELL.replace(protocol="files:cut", fold=fold) for fold in (1, 2)]
    for cell in cells:
        record(here, study, cell, split_files=digests_of("files:cut", cell.images.fold, here.data))
    sweep = Sweep(name=study, cells=cells)
    assert (plan(sweep, here).stale, plan(sweep, here).changes) == ((), ())
    (here.data / "cut" / "val_fold2.csv").write_text("path\nanother.png\n")
    found = plan(sweep, here)
    assert (found.stale, found.left) == ((cells[1],), ())
    assert found.changes == ("1 finished cells are stale: 'val_fold2.csv' of the split 'files:cut' fold 2 has changed",)
    assert plan(sweep, here, ("stale",)).left == (cells[1],)


def test_a_cell_recorded_without_its_split_files_is_not_stale(here: Site, study: str) -> None:
    """By an older commit."""
    (here.data / "cut.csv").write_text("image,label,patient,part\na.png,x,p,train\n")
    cell = CELL.replace(protocol="files:cut.csv", fold=0)
    record(here, study, cell)
    assert plan(Sweep(name=study, cells=[cell]), here).stale == ()


def test_split_files_that_are_not_there_make_nothing_stale(here: Site, study: str) -> None:
    cell = CELL.replace(protocol="files:nowhere", fold=1)
    record(here, study, cell, split_files={"train_fold1.csv": "0123456789abcdef"})
    assert plan(Sweep(name=study, cells=[cell]), here).stale == ()


def test_images_that_are_not_there_make_nothing_stale(here: Site, study: str) -> None:
    assert fingerprint(data.DATASETS["busi"], 8, here) is None
    record(here, study, CELL, fingerprint="0123456789abcdef")
    assert plan(Sweep(name=study, cells=[CELL]), here).stale == ()


def test_images_are_looked_for_as_long_as_anything_is_left_to_do_with_them(
    here: Site, study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment_of(here).items():
        monkeypatch.setenv(name, value)
    text = "from sweeper import *\ncells = grid(dataset='busi', model='cbr_mini', lr=1e-3, size=8)\n"
    (tmp_path / "study.py").write_text(f"{text}sweep = Sweep(name='{study}', cells=cells)\n")
    assert main([str(tmp_path / "study.py"), "--plan"]) == 1
    assert "data set 'busi' was not found" in capsys.readouterr().err
    record(here, study, CELL)
    assert main([str(tmp_path / "study.py"), "--plan"]) == 0


def test_of_a_study_with_more_seeds_only_the_new_ones_are_left(here: Site, study: str) -> None:
    for cell in seeds(3):
        record(here, study, cell)
    found = plan(Sweep(name=study, cells=seeds(5)), here)
    assert found.left == tuple(seeds(5)[3:])
    assert found.changes == ()


def test_of_a_study_with_more_probes_only_the_new_ones_are_left(here: Site, study: str, tmp_path: Path) -> None:
    for cell in seeds(2):
        run_id = record(here, study, cell)
        store.log_probe(here, run_id, Knn(k=3), pd.DataFrame({"value": [0.1]}), tmp_path)
    assert plan(Sweep(name=study, cells=seeds(2), probes=[Knn(k=3)]), here).probes == 0
    assert plan(Sweep(name=study, cells=seeds(2), probes=[Knn(k=3), Knn(k=4), L2()]), here).probes == 4
    assert plan(Sweep(name=study, cells=seeds(3), probes=[Knn(k=3), Cka()]), here).probes == 2 + 2


def test_a_changed_axis_is_named_with_both_values(here: Site, study: str) -> None:
    for cell in seeds(3):
        record(here, study, cell)
    found = plan(Sweep(name=study, cells=seeds(3, CELL.replace(batch_size=32))), here)
    assert len(found.left) == 3
    assert found.changes == (
        "3 finished cells are no longer declared; 3 differ from new ones only in batch_size (64 then, 32 now)",
    )


def test_a_changed_field_of_the_rate_search_is_named(here: Site, study: str) -> None:
    for cell in seeds(2, CELL.replace(lr=SEARCH)):
        record(here, study, cell)
    changed = LrSearch(low=1e-5, high=1e-2, trials=9)
    (change,) = plan(Sweep(name=study, cells=seeds(2, CELL.replace(lr=changed))), here).changes
    assert change.endswith("2 differ from new ones only in lr_trials (6 then, 9 now)")


def test_each_changed_axis_is_counted_by_itself(here: Site, study: str) -> None:
    cells = [*seeds(3), *seeds(2, CELL.replace(model="resnet50"))]
    for cell in cells:
        record(here, study, cell)
    now = [*seeds(3, CELL.replace(epochs=20)), *seeds(2, CELL.replace(model="resnet50", depth=3))]
    (change,) = plan(Sweep(name=study, cells=now), here).changes
    assert change == (
        "5 finished cells are no longer declared; 3 differ from new ones only in epochs (10 then, 20 now); "
        "2 differ from new ones only in depth (None then, 3 now)"
    )


def test_cells_that_differ_in_two_axes_are_only_counted(here: Site, study: str) -> None:
    record(here, study, CELL)
    found = plan(Sweep(name=study, cells=[CELL.replace(epochs=20, batch_size=32)]), here)
    assert found.changes == ("1 finished cells are no longer declared",)


def test_a_smaller_study_says_what_is_no_longer_declared(here: Site, study: str) -> None:
    for cell in seeds(3):
        record(here, study, cell)
    found = plan(Sweep(name=study, cells=seeds(2)), here)
    assert (found.left, found.changes) == ((), ("1 finished cells are no longer declared",))


def test_a_setting_is_searched_once_for_all_its_cells(here: Site, study: str) -> None:
    cells = [*seeds(3, CELL.replace(lr=SEARCH)), *seeds(2, CELL.replace(lr=SEARCH, epochs=3)), *seeds(4)]
    found = plan(Sweep(name=study, cells=cells), here)
    assert (found.searches, found.trials) == (2, 12)


def test_a_setting_of_which_a_cell_has_finished_is_not_searched_again(here: Site, study: str) -> None:
    cells = seeds(3, CELL.replace(lr=SEARCH))
    record(here, study, cells[0])
    found = plan(Sweep(name=study, cells=cells), here)
    assert (len(found.left), found.searches, found.trials) == (2, 0, 0)


def test_the_device_time_is_that_of_cells_and_trials_at_the_pace_recorded(here: Site, study: str) -> None:
    record(here, study, CELL.replace(epochs=2), done=epochs(0.1, 0.2))  # 1.5 s an epoch
    cells = [CELL.replace(epochs=2), CELL.replace(epochs=8), *seeds(3, CELL.replace(lr=SEARCH, epochs=4))]
    found = plan(Sweep(name=study, cells=cells), here)
    assert found.seconds == pytest.approx(1.5 * (8 + 3 * 4 + 6 * 4))


def test_a_plan_can_be_made_after_a_writer_was_killed_amid_a_transaction(here: Site, study: str) -> None:
    record(here, study, CELL)
    database = here.tracking.removeprefix("sqlite:///")
    code = f"""
import os, sqlite3
connection = sqlite3.connect({database!r}, isolation_level=None)
connection.execute("PRAGMA cache_size = 1")  # so that it writes before it commits
connection.execute("BEGIN")
connection.execute("UPDATE tags SET value = value || ' torn'")
connection.execute("UPDATE params SET value = value || ' torn'")
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert os.path.getsize(f"{database}-journal")
    assert plan(Sweep(name=study, cells=seeds(2)), here).left == tuple(seeds(2)[1:])


@pytest.fixture(scope="module")
def large(root: Path) -> tuple[Path, Site, list[Cell]]:
    """A study file of 20,000 cells, of which all but 1,000 are finished."""
    (root / "large.py").write_text(LARGE)
    cells = list(load(root / "large.py")[0].cells)
    site = make_site(root)
    store.initialise(site, "large")
    repeat(site, record(site, "large", cells[0]), cells[1:19_000])
    return root / "large.py", site, cells


def repeat(site: Site, run_id: str, cells: Sequence[Cell], tables: Sequence[str] = ("runs", "tags")) -> None:
    """Writes MLflow's rows of one run once more for each of many cells, which through MLflow would take an hour."""
    with sqlite3.connect(site.tracking.removeprefix("sqlite:///")) as connection:
        connection.execute("PRAGMA cache_size = -200000")  # kB
        for table in tables:
            rows = connection.execute(f"SELECT * FROM {table} WHERE run_uuid = ?", (run_id,))
            names = [name for name, *_ in rows.description]
            known = [dict(zip(names, values, strict=True)) for values in rows]
            holes = ", ".join("?" for _ in names)
            lines = (tuple(_of(cell, each).values()) for cell in cells for each in known)
            connection.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({holes})", lines)


def _of(cell: Cell, known: dict[str, object]) -> dict[str, object]:
    found = known | {"run_uuid": cell.key * 2}
    match known.get("key"):
        case store.KEY:
            found["value"] = cell.key
        case store.CELL:
            found["value"] = cell.to_json()
    return found


def test_of_20000_cells_the_1000_that_are_not_finished_are_left(large: tuple[Path, Site, list[Cell]]) -> None:
    _, site, cells = large
    began = time.perf_counter()
    found = plan(Sweep(name="large", cells=cells), site)
    print(f"planned in {time.perf_counter() - began:.2f} s")
    assert len(cells) == 20_000
    assert found.left == tuple(cells[19_000:])
    assert (len(found.records.finished), found.searches, found.changes) == (19_000, 1, ())


def test_20000_cells_of_which_an_axis_changed_are_compared(large: tuple[Path, Site, list[Cell]]) -> None:
    _, site, cells = large
    began = time.perf_counter()
    found = plan(Sweep(name="large", cells=[cell.replace(batch_size=32) for cell in cells]), site)
    print(f"compared in {time.perf_counter() - began:.2f} s")
    assert len(found.left) == 20_000
    assert found.changes == (
        "19000 finished cells are no longer declared; 19000 differ from new ones only in batch_size (64 then, 32 now)",
    )


def test_planning_20000_cells_takes_less_than_a_gigabyte(large: tuple[Path, Site, list[Cell]]) -> None:
    file, site, _ = large
    command = [sys.executable, "-c", PEAK, str(file)]
    env = os.environ | environment_of(site)
    told = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    *_, table, peak = told.stdout.splitlines()
    assert table.split()[:4] == ["large", "20000", "19000", "1000"]
    print(peak)
    assert int(peak.split()[1]) < 1_000_000  # kB
