"""Rates and overheads of studies whose epochs and times are known, against sums made by hand."""

import sqlite3
from pathlib import Path

import pandas as pd
import pytest
import recorded
from conftest import make_site

from analysis import throughput
from analysis.throughput import _occupancy, by_device, by_model
from sweeper import store
from sweeper.cell import Cell, make_cell
from sweeper.outcome import Epoch
from sweeper.site import Site

SMALL = [make_cell(dataset="breastmnist", model="cbr_tiny", seed=seed) for seed in range(3)]
BIG = make_cell(dataset="breastmnist", model="resnet50")


def epochs(seconds: float, rates: list[float]) -> tuple[Epoch, ...]:
    return tuple(
        Epoch(number=n, train_loss=1.0, scores={"auroc": 0.5}, lr=0.1, seconds=seconds, images_per_second=rate)
        for n, rate in enumerate(rates, start=1)
    )


def record(site: Site, cell: Cell, done: tuple[Epoch, ...], *, ended: float, tested: float) -> None:
    """A cell that took its epochs and `tested` seconds more, recorded at a moment."""
    run_id = recorded.record(site, "fast", cell, done=done)
    total = sum(each.seconds for each in done) + tested
    store.client_of(site.tracking).log_metric(run_id, "total_seconds", total)
    with sqlite3.connect(site.storage / "mlflow.db") as connection:
        connection.execute("UPDATE runs SET end_time = ? WHERE run_uuid = ?", (int(ended * 1000), run_id))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Two slots: small cells of 10 s each end at 10, 22 and 34 s, a big one of 30 s at 32 s."""
    site = make_site(tmp_path_factory.mktemp("fast"))
    store.initialise(site, "fast")
    for cell, ended in zip(SMALL, (1010.0, 1022.0, 1034.0), strict=True):
        record(site, cell, epochs(4.0, [100.0, 300.0]), ended=ended, tested=2.0)
    record(site, BIG, epochs(10.0, [10.0, 20.0]), ended=1032.0, tested=10.0)
    return site


def test_each_model_has_its_rates(site: Site) -> None:
    rows = by_model("fast", site).set_index("model")
    small, big = rows.loc["cbr_tiny"], rows.loc["resnet50"]
    assert (small["cells"], small["epochs"], big["cells"], big["epochs"]) == (3, 6, 1, 2)
    assert (small["images_per_second"], big["images_per_second"]) == (200.0, 15.0)
    assert (small["images_per_second_25"], small["images_per_second_75"]) == (100.0, 300.0)
    assert (small["seconds_per_epoch"], big["seconds_per_epoch"]) == (4.0, 10.0)
    assert (small["seconds_per_cell"], small["overhead_per_cell"], small["share_in_epochs"]) == (10.0, 2.0, 0.8)
    assert (big["overhead_per_cell"], big["share_in_epochs"]) == (10.0, pytest.approx(2 / 3))
    assert set(rows["device"]) == {"unknown"}


def test_a_device_is_as_full_as_its_slots_are(site: Site) -> None:
    row = by_device("fast", site).iloc[0]
    assert (row["cells"], row["span"], row["busy"], row["slots"]) == (4, 34.0, 60.0, 2)
    assert row["utilisation"] == pytest.approx(60 / 68)
    assert row["overhead_per_cell"] == pytest.approx(8 / 4)
    assert row["cells_at_once"] == pytest.approx(60 / 34)


def test_slots_that_stayed_empty_count_when_they_are_named(site: Site) -> None:
    assert by_device("fast", site, slots=4).iloc[0]["utilisation"] == pytest.approx(60 / 136)


def test_a_device_that_is_recorded_is_named(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    store.initialise(site, "fast")
    record(site, BIG, epochs(10.0, [10.0]), ended=100.0, tested=0.0)
    (run,) = store.runs(site, "fast")
    store.client_of(site.tracking).set_tag(run.info.run_id, store.DEVICE, "NVIDIA H100")
    assert by_device("fast", site)["device"].tolist() == by_model("fast", site)["device"].tolist() == ["NVIDIA H100"]


def test_an_interruption_is_no_overhead() -> None:
    ends, seconds = pd.Series([10.0, 20.0, 4000.0]).to_numpy(), pd.Series([10.0, 10.0, 10.0]).to_numpy()
    found = _occupancy(ends, seconds, None, 600.0)
    assert (found["span"], found["utilisation"], found["overhead_per_cell"]) == (30.0, 1.0, 0.0)
    assert _occupancy(ends, seconds, None, 4000.0)["span"] == 4000.0


def test_a_record_that_is_late_by_a_moment_makes_no_slot() -> None:
    ends, seconds = pd.Series([100.5, 200.0]).to_numpy(), pd.Series([100.0, 100.0]).to_numpy()
    assert _occupancy(ends, seconds, None, 600.0)["slots"] == 1


@pytest.mark.parametrize(("slots", "pause"), [(0, 600.0), (1, 0.0)])
def test_no_slots_and_no_pause_are_refused(site: Site, slots: int, pause: float) -> None:
    with pytest.raises(ValueError, match="slots must be >= 1 and pause > 0"):
        by_device("fast", site, slots=slots, pause=pause)


def test_a_study_without_finished_cells_is_refused(site: Site) -> None:
    store.initialise(site, "none")
    with pytest.raises(LookupError, match="no cell of 'none' is finished"):
        by_model("none", site)
    with pytest.raises(LookupError, match="no cell of 'none' is finished"):
        by_device("none", site)


def test_the_command_prints_both_tables(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SWEEPER_STORAGE", str(site.storage))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert throughput.main(["fast"]) == 0
    told = capsys.readouterr().out
    assert "images_per_second" in told
    assert "utilisation" in told
    assert throughput.main(["absent"]) == 1
