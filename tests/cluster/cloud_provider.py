"""How Ray's autoscaler asks for machines here: it leaves files in a folder, and who owns the machines acts on them.

Loaded by `ray up` and by the head, as Ray loads AWS's own provider; nothing else of the tests is there. The machines
are those of `cloud.py`: number N has the address that ends in N. What has ended is known by a file of its own, since
both sides end machines: Ray what is idle, the owner what somebody else pays more for.
"""

import json
import os
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

from ray.autoscaler.node_provider import NodeProvider

Tags = dict[str, str]


def folder_of(settings: dict[str, Any]) -> Path:
    """The folder, which has another name for who stands outside the machines."""
    return Path(os.environ.get("CLOUD_FOLDER", settings["folder"]))


class Provider(NodeProvider):
    """Machines of one kind: what a node's type says about them besides what it offers is not looked at."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        self._folder, self._lock = folder_of(provider_config), Lock()

    def non_terminated_nodes(self, tag_filters: Tags) -> list[str]:
        names = sorted(path.stem for path in self._folder.glob("*.tags"))
        there = {name: self.node_tags(name) for name in names if self.is_running(name)}
        return [name for name, tags in there.items() if tag_filters.items() <= tags.items()]

    def is_running(self, node_id: str) -> bool:
        return not self.is_terminated(node_id)

    def is_terminated(self, node_id: str) -> bool:
        return (self._folder / f"{node_id}.ended").exists()

    def node_tags(self, node_id: str) -> Tags:
        return json.loads((self._folder / f"{node_id}.tags").read_text())

    def set_node_tags(self, node_id: str, tags: Tags) -> None:
        with self._lock:
            self._write(node_id, self.node_tags(node_id) | tags)

    def external_ip(self, node_id: str) -> str:
        return self.internal_ip(node_id)

    def internal_ip(self, node_id: str) -> str:
        return f"{self.provider_config['network']}.{node_id}"

    def create_node(self, node_config: dict[str, Any], tags: Tags, count: int) -> None:
        for _ in range(count):
            with self._lock:
                self._write(self._new(), tags)

    def terminate_node(self, node_id: str) -> None:
        (self._folder / f"{node_id}.ended").touch()

    def _new(self) -> str:
        """A number that no machine had."""
        for number in count(1):
            try:
                (self._folder / f"{number}.taken").touch(exist_ok=False)
            except FileExistsError:
                continue
            return str(number)
        raise AssertionError

    def _write(self, node_id: str, tags: Tags) -> None:
        path = self._folder / f"{node_id}.tags"
        path.with_suffix(".new").write_text(json.dumps(tags))
        path.with_suffix(".new").replace(path)
