"""A cloud on this machine: hosts are switched on as Ray's autoscaler asks for them, and off as it ends them.

The cluster is `cluster.yaml` itself but for what AWS alone knows (machines, image, file system) and what is installed;
the kinds of nodes, how they are set up and started, and that idle ones end, are what stands there.
"""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from cloud_provider import Provider
from hosts import SHARED, STORE_BYTES, Host, Network, network
from lab import Lab, desk_at

from sweeper.cluster.local import SOURCE, derived
from sweeper.cluster.local import Lab as LocalLab

MOST, IDLE_MINUTES = 4, 0.5
"""Workers at once, and how long they stay idle: fewer and shorter than in `cluster.yaml`, for this machine's sake."""
_SECONDS_BETWEEN_LOOKS = 0.5


class Cloud:
    """Who owns the machines."""

    def __init__(self, made: Network) -> None:
        self.most = 0
        """How many workers there were at once, at most."""
        self._network = made
        self._folder = made.shared / "cloud"
        self._folder.mkdir()
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def workers(self) -> list[Host]:
        """The machines that are on, but for the head."""
        hosts = dict(self._network.hosts)
        return [host for name, host in hosts.items() if name != "host1" and not self._ended(name)]

    def kinds(self) -> set[str]:
        """Of all the workers that there have been."""
        tags = [json.loads(path.read_text()) for path in self._folder.glob("*.tags") if path.stem != "1"]
        return {each["ray-user-node-type"] for each in tags}

    def interrupt(self, host: Host) -> None:
        """Takes a spot machine back."""
        self._end(host.name.removeprefix("host")).touch()
        host.kill()

    def close(self) -> None:
        """Switches no more machines on.

        Raises:
            Exception: what kept it from switching one on.
        """
        self._stop.set()
        self._thread.join()
        if self._error:
            raise self._error

    def _serve(self) -> None:
        try:
            while not self._stop.wait(_SECONDS_BETWEEN_LOOKS):
                self._look()
        except Exception as error:  # noqa: BLE001 (raised by `close`)
            self._error = error

    def _look(self) -> None:
        for path in self._folder.glob("*.tags"):
            name, ended = f"host{path.stem}", self._end(path.stem).exists()
            host = self._network.hosts.get(name)
            if host is None and not ended:
                self._network.start(int(path.stem))
            elif host is not None and ended and host.first.poll() is None:
                host.kill()
        self.most = max(self.most, len(self.workers()))

    def _ended(self, name: str) -> bool:
        return self._end(name.removeprefix("host")).exists()

    def _end(self, number: str) -> Path:
        return self._folder / f"{number}.ended"


@contextmanager
def cloud(folder: Path) -> Iterator[tuple[Lab, Cloud]]:
    """A cloud and the person who uses it, with nothing brought up; afterwards nothing of it is left."""
    with network(folder / "network") as made:
        here = desk_at(
            made, folder / "desk", PYTHONPATH=str(Path(__file__).parent), CLOUD_FOLDER=f"{made.shared}/cloud"
        )
        owner = Cloud(made)
        try:
            (here.desk / "lab.yaml").write_text(yaml.safe_dump(_cluster(made)))
            yield here, owner
        finally:
            owner.close()


_FROM_SOURCE = (
    *("head_node_type", "available_node_types"),
    *("head_start_ray_commands", "worker_start_ray_commands"),
)
_TRACKING = '${RAY_HEAD_IP:-$(hostname -I | cut -d" " -f1)}'
"""The head's address, as `cluster.yaml` finds it."""


def _cluster(made: Network) -> dict[str, Any]:
    source = yaml.safe_load(SOURCE.read_text())
    own = derived(source, _machines(made)) | {name: source[name] for name in _FROM_SOURCE}
    own |= {"max_workers": MOST, "idle_timeout_minutes": IDLE_MINUTES, "head_setup_commands": []}
    module, code = f"{Provider.__module__}.{Provider.__qualname__}", Path(__file__).with_name("cloud_provider.py")
    prefix = made.address(0).removesuffix(".0")
    own["provider"] = {"type": "external", "module": module, "folder": f"{SHARED}/cloud", "network": prefix}
    own["file_mounts"] = source["file_mounts"] | {f"~/sweeper/{code.name}": str(code)}
    assert any(_TRACKING in each for each in source["setup_commands"])
    for old, new in (("http://HEAD:", f"http://{_TRACKING}:"), ("'RAY_enable_autoscaler_v2=0' ", "")):
        own["setup_commands"] = [each.replace(old, new) for each in own["setup_commands"]]  # a lab's own
    for name, kind in own["available_node_types"].items():
        kind["node_config"] = {}
        kind["resources"] = {"CPU": 0 if name == "head" else 1, "object_store_memory": STORE_BYTES}
    return own


def _machines(made: Network) -> LocalLab:
    return LocalLab(
        head="HEAD",
        workers=("WORKER",),
        user="root",
        key=str(made.key),
        storage=f"{SHARED}/storage",
        data=f"{SHARED}/data",
        environment=sys.prefix,
    )
