"""The table of distances between image sets, from a real store."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
from conftest import make_site
from recorded import record

from analysis import study_record
from analysis.domains import domain_distances
from analysis.plates import Lack, Plate
from sweeper import Fid, store
from sweeper.cell import Cell, probe_key
from sweeper.grid import grid
from sweeper.site import Site

FAR = {"digits": 100.0, "digits_5_9": 40.0}
CELLS = [
    *grid(dataset=["digits_0_4", "digits_5_9"], model="cbr_mini", seed=[0, 1], size=8),
    *grid(dataset="digits_0_4", model="cbr_tiny", size=8),
]


def distance(cell: Cell, to: str) -> float:
    """Another extractor sees another one, and seeds differ a little."""
    return FAR[to] + cell.seed + 500 * (cell.network.model == "cbr_tiny")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder: Path = tmp_path_factory.mktemp("domains")
    site = make_site(folder)
    store.initialise(site, "far")
    for cell in CELLS:
        run_id = record(site, "far", cell)
        for to in FAR if cell.images.dataset == "digits_0_4" else ["digits"]:
            probe = Fid(to=to)
            known = {"key": cell.key, "probe": "fid", "probe_key": probe_key(probe), **asdict(probe)}
            values = {"fid": distance(cell, to), "fid_means": 10.0, "fid_covariances": distance(cell, to) - 10}
            rows = [known | {"block": None, "metric": metric, "value": value} for metric, value in values.items()]
            store.log_probe(site, run_id, probe, pd.DataFrame(rows), folder)
    return site


def test_each_target_other_set_and_extractor_has_its_own_mean_over_seeds(site: Site) -> None:
    plate = domain_distances(study_record.read(["far"], site))
    assert isinstance(plate, Plate)
    table = plate.data.set_index(["metric", "model", "dataset", "to"]).sort_index()
    found = table.loc["fid"]["mean"].to_dict()
    assert found == {
        ("cbr_mini", "digits_0_4", "digits"): 100.5,
        ("cbr_mini", "digits_0_4", "digits_5_9"): 40.5,
        ("cbr_mini", "digits_5_9", "digits"): 100.5,
        ("cbr_tiny", "digits_0_4", "digits"): 600.0,
        ("cbr_tiny", "digits_0_4", "digits_5_9"): 540.0,
    }
    assert table.loc["fid", "cbr_mini"]["n"].tolist() == [2, 2, 2]
    parts = table.loc["fid_means"]["mean"] + table.loc["fid_covariances"]["mean"]
    assert parts.to_dict() == found
    assert plate.keys == {cell.key for cell in CELLS}


def test_a_panel_is_of_one_extractor(site: Site) -> None:
    plate = domain_distances(study_record.read(["far"], site))
    assert isinstance(plate, Plate)
    assert plate.figure is not None
    titles = [axes.get_title(loc="left") for axes in plate.figure.axes]
    assert [title for title in titles if title] == ["cbr_mini, random", "cbr_tiny, random"]


def test_a_study_without_the_probe_is_told_how_to_have_it(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    store.initialise(site, "near")
    record(site, "near", CELLS[0])
    found = domain_distances(study_record.read(["near"], site))
    assert isinstance(found, Lack)
    assert "declare Fid(to=" in found.reason
