"""What is chosen of measurements of a device, and real measurements on this machine's processor."""

from pathlib import Path

import pytest
import ray
from conftest import make_site

from sweeper.calibration import Calibration, distinct, measure
from sweeper.cell import make_cell

CELL = make_cell(dataset="digits", model="cbr_mini", fold=1, size=8)


def measured(**rates: float) -> Calibration:
    counted = {int(name.removeprefix("by")): rate for name, rate in rates.items()}
    return Calibration(device="a GPU", cell="k", bytes_each=1, images_per_second=counted)


@pytest.mark.parametrize(
    ("found", "count", "share"),
    [
        (measured(by1=100.0), 1, 1.0),
        (measured(by1=100.0, by2=104.0), 1, 1.0),
        (measured(by1=100.0, by2=180.0, by4=260.0, by8=250.0), 4, 0.25),
        (measured(by1=10.0, by2=20.0, by4=40.0, by8=80.0), 8, 0.125),
        (measured(by1=1.0, by3=9.0), 3, 0.3333),
    ],
)
def test_the_fewest_processes_are_taken_that_nearly_come_to_the_most(
    found: Calibration, count: int, share: float
) -> None:
    assert (found.count, found.share) == (count, share)


def test_shares_of_all_processes_fit_on_one_device() -> None:
    for count in range(1, 65):
        assert measured(**{f"by{count}": 1.0}).share * count <= 1


def test_its_json_reads_back() -> None:
    found = measured(by1=100.5, by2=180.25)
    assert Calibration.from_json(found.to_json()) == found


def test_cells_that_differ_in_nothing_that_costs_are_one() -> None:
    cells = [CELL, CELL.replace(seed=1), CELL.replace(lr=1e-2), CELL.replace(batch_size=8), CELL.replace(depth=2)]
    assert distinct(cells) == [cells[0], cells[3], cells[4]]


@pytest.mark.ray
@pytest.mark.slow
def test_the_heaviest_cell_is_trained_in_one_and_in_two_processes(tmp_path: Path) -> None:
    ray.init("local", num_cpus=2, log_to_driver=False)
    try:
        cells = [CELL.replace(depth=1), CELL, CELL.replace(depth=2)]
        found = measure(cells, make_site(tmp_path), gpus=0, counts=(1, 2, 4))
    finally:
        ray.shutdown()
    assert found.cell == CELL.key
    assert found.images_per_second.keys() == {1, 2}, "four processes find no cores here"
    assert all(rate > 0 for rate in found.images_per_second.values())
