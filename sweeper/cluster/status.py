"""What of a cluster is up, on one screen, and the commands by which a browser reaches its pages.

Asked on the head; nothing is started or mended here.
"""

import getpass
import logging
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import ray

from sweeper.cluster import database
from sweeper.cluster.head import RAY_FOLDER, Services
from sweeper.cluster.joining import unreachable
from sweeper.cluster.places import seen
from sweeper.cluster.services import answers
from sweeper.site import Site

State = Literal["up", "down", "absent"]
"""`absent` is what was never asked for, and no fault."""
_DASHBOARD_PORT = 8265


@dataclass(frozen=True, kw_only=True)
class Part:
    """One line of the screen."""

    name: str
    state: State
    told: str


def parts(site: Site, services: Services | None) -> list[Part]:
    """Every part of the cluster that this machine is the head of.

    Args:
        services: None where the head has none, as on a single machine.
    """
    with _joined(services.ray if services else RAY_FOLDER) as problem:
        found = [Part(name="Ray", state="down", told=problem)] if problem else [*_of_ray(), *_of_places(site)]
    return [*found, _of_mlflow(site), *(_of_services(services) if services else ())]


def as_text(found: Sequence[Part], site: Site, services: Services | None) -> str:
    """The screen."""
    width = max(len(each.name) for each in found)
    lines = [f"{each.name:<{width}}  {each.state:<6}  {each.told}" for each in found]
    return "\n".join([*lines, "", *_ways_in(site, services)])


@contextmanager
def _joined(folder: Path) -> Iterator[str | None]:
    """Joined to the Ray that `RAY_ADDRESS` names or that was started on this machine last; else why not."""
    named = folder / "ray_current_cluster"  # written by `ray start`, and left behind by a Ray that was killed
    address = os.environ.get("RAY_ADDRESS") or (named.read_text().strip() if named.exists() else "")
    if problem := unreachable(address):
        yield f"{problem}: start it with `ray up` or `ray start --head`"
        return
    ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    try:
        yield None
    finally:
        ray.shutdown()


def _of_ray() -> Iterator[Part]:
    nodes = ray.nodes()
    alive = [node for node in nodes if node["Alive"]]
    state = f"{len(alive)} nodes alive, {len(nodes) - len(alive)} gone since it was started"
    yield Part(name="Ray", state="up", told=f"{ray.get_runtime_context().gcs_address}, {state}")
    for node in sorted(alive, key=lambda each: each["NodeManagerAddress"]):
        has = node["Resources"]
        told = f"{node['NodeManagerHostname']}, {has.get('CPU', 0):g} CPU, {has.get('GPU', 0):g} GPU"
        yield Part(name=f"  {node['NodeManagerAddress']}", state="up", told=told)


def _of_places(site: Site) -> Iterator[Part]:
    """Data, storage and cache as every node sees them."""
    places = f"data {site.data}, storage {site.storage}, cache {site.cache}"
    found = seen(site)
    problems = [f"{each.host} ({each.node}): {problem}" for each in found for problem in each.problems]
    if not problems:
        data = "" if site.data.is_dir() else " (no data on the head)"
        yield Part(name="places", state="up", told=f"{places}: well on {len(found)} nodes{data}")
    for problem in problems:
        yield Part(name="places", state="down", told=problem)


def _of_mlflow(site: Site) -> Part:
    if site.tracking.startswith("http"):
        up = answers(f"{site.tracking}/health")
        return Part(name="MLflow", state="up" if up else "down", told=site.tracking)
    path = Path(site.tracking.removeprefix("sqlite:///"))
    return Part(name="MLflow", state="up" if path.exists() else "absent", told=f"{site.tracking}, without a server")


def _of_services(services: Services) -> Iterator[Part]:
    up = database.accepts(services, database.programs_of(services))
    where = f"127.0.0.1:{services.database_port}, {services.database}"
    yield Part(name="PostgreSQL", state="up" if up else "down", told=where)
    address = f"http://127.0.0.1:{services.prometheus_port}"
    if shutil.which("prometheus") is None:
        yield Part(name="Prometheus", state="absent", told="not installed: apt-get install prometheus")
    else:
        yield Part(name="Prometheus", state="up" if answers(f"{address}/-/ready") else "down", told=address)


def _ways_in(site: Site, services: Services | None) -> Iterator[str]:
    """How a browser on another machine comes to each page: the pages listen on the head alone, or in its network."""
    head = f"{getpass.getuser()}@{_own_address()}"
    pages = {"Ray dashboard": ("127.0.0.1", _DASHBOARD_PORT)}
    if site.tracking.startswith("http"):
        uri = urlsplit(site.tracking)
        pages["MLflow"] = (uri.hostname or "127.0.0.1", uri.port or 80)
    if services and shutil.which("prometheus"):
        pages["Prometheus"] = ("127.0.0.1", services.prometheus_port)
    yield "Web pages, from your own machine (`ray dashboard CLUSTER.yaml` opens the first as well):"
    for name, (host, port) in pages.items():
        yield f"  {name:<14} ssh -N -L {port}:{host}:{port} {head}    then http://localhost:{port}"
    if (Path.home() / ".ray" / "auth_token").exists():
        yield "Ray's page asks for the cluster's token: it stands in ~/.ray/auth_token, there and here."
    yield "MLflow's page shows studies once 'Model training' is chosen, at its top left."
    if not site.tracking.startswith("http"):
        yield f"  MLflow         mlflow ui --backend-store-uri {site.tracking}"


def _own_address() -> str:
    """The address that this machine shows to others."""
    found = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False).stdout.split()
    return found[0] if found else socket.gethostname()
