"""Makes a lab's running head know the machines that a later `ray up` names: Ray reads the list at its start alone.

Run on the head by `ray up` itself, after the new list has come. When a machine is started is Ray's decision.
"""

import json
from pathlib import Path

from ray.autoscaler._private.local.node_provider import LocalNodeProvider

from sweeper.cluster.down import CONFIG


def admit(config: Path = CONFIG) -> list[str]:
    """The workers that Ray knows now: those of the list. What it knows of the others stays as it is.

    Raises:
        FileNotFoundError: when this machine is no head.
    """
    cluster = json.loads(config.expanduser().read_text())
    provider = LocalNodeProvider(cluster["provider"], cluster["cluster_name"])  # writes the file that Ray goes by
    return sorted(set(provider.state.get()) - {cluster["provider"]["head_ip"]})
