"""How many cells this driver trains at once: what the nodes hold, shared with the other drivers of the cluster.

Which cells those are is `jobs`' business. The drivers of a cluster (`RAY_ADDRESS`) tell one actor on its head what they
want every few seconds. It answers with their shares, and asks the autoscaler for room for all of it.

A cell's workers need room node by node: half a GPU here and half a GPU there hold no worker that needs a whole one.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ray

from sweeper.calibration import calibrated
from sweeper.cluster import is_shared
from sweeper.grid import Sweep
from sweeper.outcome import Devices
from sweeper.site import Site

RENEW_SECONDS = 5.0
_SILENT_SECONDS = 60.0
"""A driver that was not heard of for so long wants nothing any more."""
_SAY_SECONDS = 60.0
_MOST_ASKED = 512
"""Workers that the autoscaler is asked for at most, for each driver."""
_ROUNDING = 1e-9
_NAMESPACE, _NAME = "sweeper", "shares-1"
"""The number rises when what drivers say to the actor changes."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What one driver would like to run at once."""

    most: int
    """Cells that the cluster would hold if nobody else were there, >= 0."""
    wanted: int
    """Cells and rate trials that are ready to run, those that run included, >= 0."""


def cells_on(nodes: Iterable[Mapping[str, float]], devices: Devices) -> int:
    """How many cells nodes with these resources hold at once; a cell's workers may stand on several nodes."""
    return sum(_workers_on(node, devices) for node in nodes) // devices.workers


def fair_slots(wishes: Mapping[str, Wish]) -> dict[str, int]:
    """How many cells each driver runs at once, by driver.

    Each gets an equal part of what it could run alone, so that drivers whose cells need different devices compare; what
    one does not want goes to the others in equal parts (max-min fairness: Bertsekas and Gallager 1992, section 6.5.2).
    What is left of rounding down goes to those that came first. Nobody gets less than 1: who then has no room waits in
    Ray's own queue.
    """
    able = {name: wish for name, wish in wishes.items() if wish.most and wish.wanted}
    parts = _fill({name: min(1.0, wish.wanted / wish.most) for name, wish in able.items()})
    slots = {name: math.floor(parts[name] * wish.most + _ROUNDING) for name, wish in able.items()}
    given = math.fsum(slots[name] / wish.most for name, wish in able.items())
    for name, wish in able.items():
        if slots[name] < min(wish.wanted, wish.most) and given + 1 / wish.most <= 1 + _ROUNDING:
            slots[name] += 1
            given += 1 / wish.most
    return {name: max(slots.get(name, 0), 1) for name in wishes}


def devices_of(sweep: Sweep, site: Site, say: Callable[[str], None]) -> Devices:
    """What each cell of a sweep may use on the connected cluster; `auto` is measured there, once for a study.

    Where the sweep leaves it to the cluster and no node is there yet that trains, the first one is waited for: a node
    with a GPU is asked of the autoscaler meanwhile, because a cluster that has GPUs would else begin on processors.
    """
    if sweep.gpus_per_cell in ("auto", None):
        _wait(
            lambda: any(node.get("CPU", 0) >= 1 for node in _nodes()),
            Devices(gpus=1.0),
            f"study '{sweep.name}' leaves it to the cluster whether a cell gets a GPU, and no node is there yet that "
            "trains: this driver asks for one with a GPU and waits for the first that joins; "
            "gpus_per_cell=0 in the study asks for processors alone",
            say,
        )
    match sweep.gpus_per_cell, any(node.get("GPU", 0) for node in _nodes()):
        case "auto", True:
            gpus = calibrated(sweep.cells, site, site.study(sweep.name)).share
        case (None, True):
            gpus = 1.0
        case "auto" | None, False:
            gpus = 0.0
        case given, _:
            gpus = float(given)
    return Devices(workers=sweep.workers_per_cell, gpus=gpus)


class Share:
    """This driver's part of the cluster for cells that use these devices."""

    def __init__(self, devices: Devices, say: Callable[[str], None]) -> None:
        """Waits until the cluster holds a cell.

        Raises:
            ValueError: when it does not and never will, because it is this machine alone.
        """
        self.given: set[int] = set()
        """All numbers of slots that it has had."""
        self._devices = devices
        self._slots, self._renewed = 0, -math.inf
        nodes = _nodes()
        kinds = Counter(f"{node.get('CPU', 0):g} CPU and {node.get('GPU', 0):g} GPU" for node in nodes)
        short = (
            f"one cell needs {devices.workers} worker(s) with 1 CPU and {devices.gpus:g} GPU each, but the cluster has "
            f"{', '.join(f'{count} node(s) of {kind}' for kind, count in kinds.items())}; "
            "lower workers_per_cell or gpus_per_cell"
        )
        if not cells_on(nodes, devices) and not is_shared():
            raise ValueError(short)
        _wait(
            lambda: bool(cells_on(_nodes(), devices)),
            devices,
            f"{short}, or let it wait for other nodes, as it does",
            say,
        )
        if is_shared():  # where a node that joins later may have what the first ones lack
            say(f"each cell has {devices.workers} worker(s) with 1 CPU and {devices.gpus:g} GPU")

    def slots(self, wanted: int) -> int:
        """How many cells may run at once, >= 1; asked anew every few seconds, as nodes and other drivers come and go.

        Args:
            wanted: how many cells and rate trials are ready to run, those that run included.
        """
        if time.monotonic() - self._renewed >= RENEW_SECONDS:
            most = cells_on(_nodes(), self._devices)
            self._slots = _tell(self._devices, Wish(most=most, wanted=wanted)) if is_shared() else most
            self._renewed = time.monotonic()
        self.given.add(max(self._slots, 1))
        return max(self._slots, 1)

    def leave(self) -> None:
        """Gives the share back at once; that of a driver which was killed goes to the others in a minute."""
        if is_shared():
            _tell(self._devices, Wish(most=0, wanted=0))
        self._renewed = -math.inf


def _fill(wants: Mapping[str, float]) -> dict[str, float]:
    """Parts of a whole, each at most what it wants, the smallest of those that get less being as large as can be."""
    parts: dict[str, float] = {}
    left, open_ = 1.0, dict(wants)
    while open_:
        equal = left / len(open_)
        content = {name: want for name, want in open_.items() if want <= equal} or dict.fromkeys(open_, equal)
        parts |= content
        left -= math.fsum(content.values())
        open_ = {name: want for name, want in open_.items() if name not in content}
    return parts


def _workers_on(node: Mapping[str, float], devices: Devices) -> int:
    """How many workers a node holds, each with one processor; a share of a GPU is of one device."""
    cores, gpus = math.floor(node.get("CPU", 0)), math.floor(node.get("GPU", 0))
    if not devices.gpus:
        return cores
    if devices.gpus > 1:
        return min(cores, math.floor(gpus / devices.gpus))
    return min(cores, gpus * math.floor(1 / devices.gpus + _ROUNDING))


def _nodes() -> list[dict[str, float]]:
    """The resources of each node that is alive."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _wait(there: Callable[[], bool], devices: Devices, why: str, say: Callable[[str], None]) -> None:
    """Waits for nodes that others bring or the autoscaler starts, and says once a minute what for."""
    said = -math.inf
    while not there():
        if time.monotonic() - said >= _SAY_SECONDS:
            say(why)
            said = time.monotonic()
        if is_shared():
            _tell(devices, Wish(most=0, wanted=1))
        time.sleep(1.0)


def _tell(devices: Devices, wish: Wish) -> int:
    """This driver's slots, by the actor to which all drivers tell what they want."""
    actor: Any = ray.remote(_Shares)
    shares = actor.options(
        name=_NAME,
        namespace=_NAMESPACE,
        get_if_exists=True,
        lifetime="detached",  # it outlives the driver that was first
        num_cpus=0,
        resources={"node:__internal_head__": 0.001},  # workers come and go
        max_restarts=-1,
        max_task_retries=-1,
    ).remote()
    bundle = {"CPU": 1, "GPU": devices.gpus} if devices.gpus else {"CPU": 1}
    return ray.get(shares.tell.remote(ray.get_runtime_context().get_job_id(), wish, devices.workers, bundle))


class _Shares:
    """What the drivers of a cluster want; the same after a restart as soon as each of them has spoken again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wishes: dict[str, Wish] = {}
        self._bundles: dict[str, list[dict[str, float]]] = {}
        self._heard: dict[str, float] = {}
        self._asked: list[dict[str, float]] | None = None
        threading.Thread(target=self._watch, name="silent drivers", daemon=True).start()

    def tell(self, driver: str, wish: Wish, workers: int, bundle: dict[str, float]) -> int:
        """Takes in a driver's wish and answers with its slots."""
        with self._lock:
            self._wishes[driver], self._heard[driver] = wish, time.monotonic()
            self._bundles[driver] = [bundle] * min(wish.wanted * workers, _MOST_ASKED)
            self._ask()
            return fair_slots(self._wishes)[driver]

    def _watch(self) -> None:
        while True:
            time.sleep(RENEW_SECONDS)
            with self._lock:
                for driver in [each for each, at in self._heard.items() if time.monotonic() - at > _SILENT_SECONDS]:
                    del self._wishes[driver], self._bundles[driver], self._heard[driver]
                self._ask()

    def _ask(self) -> None:
        """Tells the autoscaler, if there is one, what room there should be."""
        from ray.autoscaler.sdk import request_resources

        bundles = [bundle for each in self._bundles.values() for bundle in each]
        if bundles != self._asked:
            request_resources(bundles=bundles)
            self._asked = bundles
