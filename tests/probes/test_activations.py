"""Pieces made by actors of Ray Data, and a study's probes from the first to the last row."""

import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from processes import Process, end, named, tree
from states import CELLS, STUDY, recorded_site

from analysis import frames
from sweeper import L2, Agreement, Cka, Cost, Embedding, Filters, GradCam, Knn, Reinit, ledger, probes, store
from sweeper.cell import Cell
from sweeper.grid import Sweep
from sweeper.outcome import Devices
from sweeper.pairing import asks
from sweeper.probes.activations import made
from sweeper.probes.asked import needed
from sweeper.probes.making import tasks
from sweeper.probes.needs import pieces
from sweeper.site import Site

pytestmark = pytest.mark.ray

PROBES = (Cka(), Cka(across="seed", layers="all"), Knn(k=5), L2(), Reinit(), Agreement(across="seed"))
DRAWN = (GradCam(images=2), Embedding(part="val"), Filters(), Cost())
ALONE = Devices(workers=1, gpus=0.0)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init("local", num_cpus=3, include_dashboard=True, log_to_driver=False)
    yield
    ray.shutdown()


class LostError(Exception):
    """As a driver that is killed: nothing catches it."""


def run(site: Site, *, dies_after: int | None = None, sweep: Sweep | None = None) -> None:
    left = [dies_after if dies_after is not None else 10_000]

    def check_lease() -> None:
        if not left[0]:
            raise LostError
        left[0] -= 1

    sweep = sweep or Sweep(name=STUDY, cells=CELLS, probes=PROBES)
    work = site.storage / "work"
    work.mkdir(exist_ok=True)
    done = ledger.read(site, STUDY).finished
    probes.run_probes(sweep, done, site, slots=2, devices=ALONE, work=work, check_lease=check_lease)


def test_three_actors_make_what_one_makes(tmp_path: Path) -> None:
    found = []
    for actors in (1, 3):
        site, runs = recorded_site(tmp_path / str(actors))
        wanted = [need for ask in asks(CELLS, PROBES) for need in needed(ask, runs, site)]
        todo = tasks(wanted, site)
        assert sorted(made(todo, site, slots=actors, devices=ALONE)) == list(range(len(todo)))
        found.append([path.read_bytes() for need in wanted for _, path in pieces(need, site)])
    assert found[0] == found[1]


def test_nothing_is_said_while_pieces_are_made(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    site, runs = recorded_site(tmp_path)
    todo = tasks(needed(asks(CELLS, [Cka()])[0], runs, site), site)
    assert sorted(made(todo, site, slots=1, devices=ALONE)) == list(range(len(todo)))
    assert capfd.readouterr() == ("", "")


def test_what_a_killed_process_had_is_made_by_another(tmp_path: Path) -> None:
    site, runs = recorded_site(tmp_path)
    todo = tasks([need for ask in asks(CELLS, PROBES) for need in needed(ask, runs, site)], site)
    stream = made(todo, site, slots=2, devices=ALONE)
    found = [next(stream)]
    killed = makers()
    end(killed)
    assert killed
    assert sorted([*found, *stream]) == list(range(len(todo)))


def test_processes_that_die_whatever_they_begin_end_in_a_sentence(tmp_path: Path) -> None:
    site, runs = recorded_site(tmp_path)
    todo = tasks(needed(asks(CELLS, [Cka()])[0], runs, site), site)
    ended = threading.Event()

    def kill() -> None:
        while not ended.wait(0.02):
            end(makers())

    threading.Thread(target=kill, daemon=True).start()
    with pytest.raises(RuntimeError, match=f"3 times a process died .* with {len(todo)} pieces left"):
        list(made(todo, site, slots=1, devices=ALONE))
    ended.set()


def makers() -> list[Process]:
    return named(tree(os.getpid()), "ray::MapWorker")


def test_a_driver_that_died_half_way_leaves_the_same_rows_once(tmp_path: Path) -> None:
    whole, killed = (recorded_site(tmp_path / name)[0] for name in ("whole", "killed"))
    run(whole)
    with pytest.raises(LostError):
        run(killed, dies_after=7)
    gc.collect()  # with its stream go its actors, as they go with a process
    assert 0 < sum(len(each.probes) for each in ledger.read(killed, STUDY).finished.values()) < 20
    run(killed)
    run(killed, dies_after=0)  # nothing is left to be done
    found = [frames.probes(STUDY, site) for site in (whole, killed)]
    names = ["key", "probe_key", "block", "other", "other_block", "metric"]
    assert not found[0].duplicated(names).any()
    for rows in found:
        rows.sort_values(names, ignore_index=True, inplace=True)
    assert found[0].equals(found[1])
    runs = ledger.read(whole, STUDY).finished  # what no probe needs any more is gone, but for the start of all cells
    shared = {path.parent for _, path in pieces(needed(asks(CELLS, [Cka()])[0], runs, whole)[1], whole)}
    assert set((whole.storage / "probes").iterdir()) == shared


def test_pictures_and_costs_of_all_cells_are_made_by_actors_and_stored(tmp_path: Path) -> None:
    cells: list[Cell] = [CELLS[0].replace(depth=depth) for depth in (1, 2)]
    site, _ = recorded_site(tmp_path, cells)
    run(site, sweep=Sweep(name=STUDY, cells=cells, probes=DRAWN))
    done = ledger.read(site, STUDY).finished
    for each in done.values():
        endings = [name.split("-", 1)[1][16:] for name in store.sizes(site, each.run_id) if name.startswith("probes/")]
        assert sorted(endings) == sorted([*[".parquet"] * 4, *[".png"] * 3, "-maps.npz", "-points.parquet"])
    rows = frames.probes(STUDY, site)
    found = rows[(rows["probe"] == "cost") & (rows["block"] == 1)].groupby("metric")["value"].nunique()
    assert (found == 1).all()  # also times: the cut that both cells have was measured once
    assert (rows["device"].notna() == (rows["probe"] == "cost")).all()
    run(site, sweep=Sweep(name=STUDY, cells=cells, probes=DRAWN), dies_after=0)  # nothing is left to be done
