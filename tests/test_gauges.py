"""The numbers that a cluster's panels draw: what they are, that Ray exports them, and that each panel's name exists."""

import io
import json
import os
import re
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families
from queueing import CELL, Queue, queues, seeds
from ray.dashboard.modules.metrics.dashboards.default_dashboard_panels import default_dashboard_config
from recorded import epochs
from rich.console import Console

from sweeper import gauges
from sweeper.gauges import GAUGES, STATES, Speeds, exported, numbers, speed
from sweeper.live import Progress
from sweeper.outcome import Curve
from sweeper.site import Site
from sweeper.work import CURVE

PANEL = Path(gauges.__file__).with_name("cluster_panel.json")


@pytest.fixture
def queue(site: Site, tmp_path: Path) -> Iterator[Queue]:
    with queues(site, "seen", tmp_path) as begin:
        yield begin(seeds(4), slots=3)


def progress(total: int) -> Progress:
    return Progress("cells", total, Console(file=io.StringIO()))


def begun(total: int, running: int, done: int, failed: int) -> Progress:
    made = progress(total)
    for _ in range(running + done + failed):
        made.started()
    for place in range(done + failed):
        made.ended(failed=place >= done)
    return made


def write_curve(work: Path, key: str, *speeds: float) -> Path:
    (work / key).mkdir(exist_ok=True)
    done = tuple(vars(epoch) | {"images_per_second": each} for epoch, each in zip(epochs(*speeds), speeds, strict=True))
    path = work / key / CURVE
    path.write_text(Curve(cell=CELL, epochs=tuple(type(epochs(1.0)[0])(**each) for each in done)).to_json())
    return path


def test_every_cell_is_in_one_state(queue: Queue) -> None:
    found = list(numbers(progress(0), begun(10, running=3, done=4, failed=1), queue.jobs, []))
    cells = {state: value for name, state, value in found if name == "sweeper_cells"}
    assert cells == dict(zip(STATES, (2, 3, 4, 1), strict=True))


def test_each_gauge_has_its_number(queue: Queue) -> None:
    found = list(numbers(progress(0), begun(2, running=0, done=1, failed=0), queue.jobs, []))
    assert {name for name, _, _ in found} == GAUGES.keys()
    assert all(bool(state) == ("state" in GAUGES[name][1]) for name, state, _ in found)
    assert {name: value for name, _, value in found}["sweeper_slots"] == 3


def test_the_time_left_is_not_told_before_the_first_cell_has_ended(queue: Queue) -> None:
    found = {name: value for name, _, value in numbers(progress(0), begun(2, 1, 0, 0), queue.jobs, [])}
    assert found["sweeper_seconds_left"] is None


def test_a_cell_too_young_to_tell_its_speed_counts_as_those_that_ended() -> None:
    assert speed([100.0, 50.0], 4, [20.0, 40.0]) == 150 + 2 * 30
    assert speed([100.0, 50.0], 2, [20.0]) == 150
    assert speed([], 3, []) == 0
    assert speed([100.0], 0, [20.0]) == 100  # it has ended since its file was read


def test_speeds_are_of_the_newest_epochs_on_disk(tmp_path: Path) -> None:
    speeds = Speeds(tmp_path)
    assert speeds.now() == []
    first = write_curve(tmp_path, "a" * 16, 3.0, 4.0)
    write_curve(tmp_path, "b" * 16, 10.0)
    assert sorted(speeds.now()) == [4.0, 10.0]
    write_curve(tmp_path, "b" * 16, 10.0, 11.0)
    os.utime(tmp_path / ("b" * 16) / CURVE, ns=(1, 1))
    assert sorted(speeds.now()) == [4.0, 11.0]
    first.unlink()
    assert speeds.now() == [11.0]


def queries() -> list[str]:
    board = json.loads(PANEL.read_text())
    found = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return [*found, *(each["definition"] for each in board["templating"]["list"] if "definition" in each)]


def names(query: str) -> set[str]:
    return set(re.findall(r"\bray_\w+", query))


def test_each_panel_asks_for_a_name_that_is_exported() -> None:
    """Those of nodes and their GPUs as Ray's own panels ask for them."""
    panels = [panel for row in default_dashboard_config.rows or () for panel in row.panels]
    rays = set().union(*(names(target.expr) for panel in panels for target in panel.targets))
    own = {f"ray_{name}" for name in GAUGES}
    asked = set().union(*map(names, queries()))
    assert asked <= own | rays
    assert own <= asked


def test_a_panel_asks_only_for_tags_that_its_gauge_has() -> None:
    for query in queries():
        for name, filters in re.findall(r"\bray_(sweeper_\w+)\{([^}]*)\}", query):
            assert set(re.findall(r"(\w+)=", filters)) <= set(GAUGES[name][1]), query
        groups = [tag.strip() for tags in re.findall(r"by \(([^)]*)\)", query) for tag in tags.split(",")]
        tags = {tag for name in names(query) for tag in GAUGES.get(name.removeprefix("ray_"), ("", ()))[1]}
        assert set(groups) <= tags | {"instance", "GpuIndex"}, query


def test_panels_lie_beside_one_another_and_have_numbers_of_their_own() -> None:
    panels = json.loads(PANEL.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [(x, y) for p in panels for g in [p["gridPos"]] for x in range(g["x"], g["x"] + g["w"]) for y in [g["y"]]]
    assert len(set(places)) == len(places)
    assert max(x for x, _ in places) < 24


def samples(port: int) -> dict[tuple[str, str, str], float]:
    """Name, study and state -> value, of every gauge with a study."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    nodes = {(each.name, "", ""): each.value for each in found if each.name.startswith("ray_node_")}
    own = [each for each in found if "study" in each.labels]
    return nodes | {(each.name, each.labels["study"], each.labels.get("state", "")): each.value for each in own}


@pytest.mark.ray
def test_ray_exports_what_is_shown(queue: Queue, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray.init("local", num_cpus=1, include_dashboard=True, log_to_driver=False, _metrics_export_port=port)
    try:
        queue.jobs.speeds.append(25.0)
        cells = begun(10, running=3, done=4, failed=1)
        with exported("seen", begun(5, running=1, done=0, failed=0), cells, queue.jobs, tmp_path / "work-1"):
            expected = {(f"ray_{name}", "seen", "") for name, (_, tags) in GAUGES.items() if "state" not in tags}
            deadline = time.monotonic() + 120
            while not expected <= (found := samples(port)).keys():
                assert time.monotonic() < deadline, sorted(found)
                time.sleep(1)
        assert found["ray_sweeper_cells", "seen", "done"] == 4
        assert found["ray_sweeper_rate_trials", "seen", "waiting"] == 4
        assert found["ray_sweeper_images_per_second", "seen", ""] == 4 * 25
        assert found["ray_sweeper_slots", "seen", ""] == 3
        assert ("ray_node_cpu_utilization", "", "") in found
    finally:
        ray.shutdown()
