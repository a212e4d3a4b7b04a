"""The command, as a person uses it and stops it: real Ray, MLflow and Optuna on real images; nothing is replaced."""

import signal
import time
from pathlib import Path

import pandas as pd
import pytest
from placed import Place, place

from analysis import frames
from sweeper import ledger, store
from sweeper.site import Site

pytestmark = pytest.mark.ray
STUDY = """
from sweeper import L2, Cka, Knn, LrSearch, Sweep, grid
common = dict(model="cbr_mini", fold=1, size=8)
first = Sweep(name="first", cells=grid(dataset="digits_0_4", lr=3e-3, epochs=2, **common), register="digits")
second = Sweep(
    name="second",
    cells=grid(dataset="digits_5_9", source=[first.cells[0], "random"], depth=[1, 2], seed=[0, 1], fraction=0.3,
               lr=LrSearch(low=1e-3, high=3e-2, trials=3, epochs=1), epochs=3, **common),
    probes=[Cka(against="start"), Knn(k=5), L2(against="start")],
)
sweeps = [first, second]
"""


def numbers(site: Site) -> pd.DataFrame:
    """What must be equal however a study was interrupted."""
    found = frames.runs("second", site).set_index("key")
    return found.drop(columns=["run_id", "total_seconds", "commit"], errors="ignore").sort_index()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, str]:
    here = place(tmp_path_factory.mktemp("study"), STUDY)
    code, out, err = here.run()
    assert code == 0, out + err
    return here, out


def test_a_study_ends_with_one_finished_run_and_one_row_per_cell(finished: tuple[Place, str]) -> None:
    site = finished[0].site
    table = frames.runs("second", site)
    assert len(table) == len(store.runs(site, "second")) == table["key"].nunique() == 8
    assert table["test_accuracy"].between(0, 1).all()
    assert len(frames.epochs("second", site)) == 8 * 3


def test_the_seeds_of_a_setting_share_the_rate_that_was_found(finished: tuple[Place, str]) -> None:
    table = frames.runs("second", finished[0].site)
    rates = table.groupby(["source", "depth"], observed=True)["lr_found"]
    assert (rates.nunique() == 1).all()
    assert table["lr_found"].between(1e-3, 3e-2).all()


def test_every_cell_has_its_probes_at_every_block(finished: tuple[Place, str]) -> None:
    site = finished[0].site
    rows = frames.probes("second", site)
    for key, depth in frames.runs("second", site)[["key", "depth"]].itertuples(index=False):
        own = rows[rows["key"] == key]
        assert set(own["probe"]) == {"cka", "knn", "l2"}
        assert set(own["block"]) == set(range(1, depth + 1))
    assert rows["value"].notna().all()


def test_the_source_is_registered(finished: tuple[Place, str]) -> None:
    site = finished[0].site
    (key,) = frames.runs("first", site)["key"]
    assert store.registered_path("digits", "1", site) == store.state_path(key, "best", site)


def test_the_end_shows_the_table_its_files_and_the_way_on(finished: tuple[Place, str]) -> None:
    here, out = finished
    assert "mlflow ui --backend-store-uri" in out
    assert "Ray dashboard:" in out
    written = [Path(line.strip()) for line in out.splitlines() if line.strip().startswith(str(here.site.storage))]
    assert {path.name for path in written} >= {"table.csv", "scores.png"}
    assert all(path.stat().st_size for path in written)


def test_the_second_time_nothing_is_run(finished: tuple[Place, str]) -> None:
    here, _ = finished
    before = numbers(here.site)
    runs = {run.info.run_id for run in store.runs(here.site, "second")}
    code, out, err = here.run()
    assert code == 0, err
    assert "Ray dashboard" not in out
    assert {run.info.run_id for run in store.runs(here.site, "second")} == runs
    pd.testing.assert_frame_equal(numbers(here.site), before)


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_study_that_was_stopped_ends_with_the_same_table(
    finished: tuple[Place, str], tmp_path: Path, way: signal.Signals
) -> None:
    here = place(tmp_path, STUDY)
    process = here.start()
    deadline = time.monotonic() + 300
    while len(ledger.read(here.site, "second").finished) < 2 and process.poll() is None:
        assert time.monotonic() < deadline, "no cell was finished"
        time.sleep(0.05)
    process.send_signal(way)
    out, err = process.communicate(timeout=120)
    if way != signal.SIGKILL:
        assert process.returncode == 130, out + err
        assert "go on with: python -m sweeper.run" in err
    assert len(ledger.read(here.site, "second").finished) < 8
    code, out, err = here.run()
    assert code == 0, out + err
    pd.testing.assert_frame_equal(numbers(here.site), numbers(finished[0].site), check_exact=True)
