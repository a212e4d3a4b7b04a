"""The cluster of a lab's own machines, derived from `cluster.yaml`, so that the two cannot drift apart.

Who starts machines and where the shared folder lies is replaced; setup, environment, services and starts are kept. No
machine is touched here.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SOURCE = Path(__file__).parents[2] / "cluster.yaml"
"""The one source, in the project's folder."""
_CLOUD_ONLY = ("available_node_types", "head_node_type", "max_workers", "idle_timeout_minutes")
"""What Ray refuses for machines that it cannot start, or has no use for."""


_INSTALLS = ("apt-get", "uv sync", "uv/install.sh")
"""Signs of a command that installs."""

_ADMIT = ". ~/.sweeper_env; cd ~/sweeper && python -m sweeper.cluster admit"
"""Has a head that runs already know the machines that were added."""


@dataclass(frozen=True, kw_only=True)
class Lab:
    """Machines that exist, and what they share."""

    head: str
    """Name or address, as the other machines reach it."""
    workers: tuple[str, ...]
    user: str
    """Who logs in by ssh on all of them, without a password."""
    key: str | None = None
    """The private key for that; ssh's own choice where None, from here and from the head."""
    storage: str = "/mnt/sweeper/storage"
    """A folder that all machines share."""
    data: str = "/mnt/sweeper/data"
    services: str | None = None
    """Where the head keeps the tracking database; a folder in `storage` where None. Only the head needs it."""
    cpus: int | None = None
    """What each worker offers; all that it has where None."""
    head_works: bool = False
    """Whether the head trains as well."""
    environment: str | None = None
    """A virtual environment that every machine has already, with all programs: nothing is installed there then."""


def derived(cluster: Mapping[str, Any], lab: Lab) -> dict[str, Any]:
    """The same cluster on a lab's machines.

    Args:
        cluster: the content of `cluster.yaml`.

    Raises:
        ValueError: when a place of the lab is not absolute, a machine is named twice, or the source lacks a line that
            is to be replaced.
    """
    _check(lab)
    own = {name: value for name, value in cluster.items() if name not in _CLOUD_ONLY}
    own["provider"] = {"type": "local", "head_ip": lab.head, "worker_ips": list(lab.workers)}
    own["auth"] = {"ssh_user": lab.user} | ({"ssh_private_key": lab.key} if lab.key else {})
    own["initialization_commands"] = [_looks_for(lab.storage)]
    own["setup_commands"] = [_placed(each, lab) for each in _needed(cluster["setup_commands"], lab)]
    for role in ("head", "worker"):
        own[f"{role}_setup_commands"] = _needed(cluster[f"{role}_setup_commands"], lab)
        starts = cluster[f"{role}_start_ray_commands"]
        own[f"{role}_start_ray_commands"] = [_offering(each, role, lab) for each in starts]
    own["head_setup_commands"].append(_ADMIT)
    if lab.environment:
        own["cluster_synced_files"] = []  # the versions that the head resolved, and there resolves none
    return own


def as_text(lab: Lab, command: str) -> str:
    """The derived cluster as YAML, with the command that makes it again."""
    header = (
        f"# Made of cluster.yaml; do not change it here, but make it again, from the project's folder:\n#   {command}\n"
        "# Mount an NFS folder with lookupcache=positive: a file must be seen on all machines as soon as it is made.\n"
        "# Bring it up, from there as well:\n"
        "#   uv run ray get-auth-token --generate > /dev/null; chmod 600 ~/.ray/auth_token    # once\n"
        "#   uv run ray up THIS_FILE\n"
        "# Add a machine: make it again with one more of --workers, then\n"
        "#   uv run ray up --no-restart THIS_FILE\n"
        "# End everything on all machines (`ray down` alone ends the head's Ray):\n"
        "#   uv run ray exec THIS_FILE 'cd ~/sweeper && python -m sweeper.cluster down'\n"
        "#   uv run ray down THIS_FILE\n\n"
    )
    cluster = derived(yaml.safe_load(SOURCE.read_text()), lab)
    return header + yaml.safe_dump(cluster, sort_keys=False, width=120, allow_unicode=True)


def _check(lab: Lab) -> None:
    for name in ("storage", "data", "services", "environment"):
        place = getattr(lab, name)
        if place is not None and not Path(place).is_absolute():
            raise ValueError(f"--{name} {place} is not absolute: it must mean the same folder on every machine")
        if place is not None and re.search(r"[^\w./+@:,=-]", place):
            raise ValueError(f"--{name} {place!r} has characters that a shell would read: choose a plain path")
    machines = (lab.head, *lab.workers)
    if twice := [each for each in dict.fromkeys(machines) if machines.count(each) > 1]:
        raise ValueError(f"machine {twice[0]} is named twice: head and workers are different machines")
    if not lab.workers and not lab.head_works:
        raise ValueError("no worker is named and the head does not train: name --workers, or add --head-works")


def _looks_for(storage: str) -> str:
    what = f"$(hostname): {storage} is not a folder that $USER may write"
    return (
        f'test -w {storage} || {{ echo "{what}: mount the shared folder there, or name it with --storage"; exit 1; }}'
    )


def _placed(command: str, lab: Lab) -> str:
    """A setup command with the lab's folders, where it is the one that names folders."""
    if "SWEEPER_STORAGE=" not in command:
        return command
    services = lab.services or f"{lab.storage}/services"
    for name, place in (("DATA", lab.data), ("STORAGE", lab.storage), ("SERVICES", services)):
        command = _replaced(rf"(?<='SWEEPER_{name}=)[^']+", place, command)
    command = _replaced(
        r"(?<='MLFLOW_TRACKING_URI=http://).+(?=:5000')", lab.head, command
    )  # it may have more addresses
    # Ray 2.60's second autoscaler counts the head among a lab's workers, and so leaves the last of them out.
    command = _replaced(r"(?='RAY_AUTH_MODE)", "'RAY_enable_autoscaler_v2=0' ", command)
    if lab.environment:
        command = _replaced(r"(?<='PATH=)\$HOME/sweeper/\.venv/bin(?=:)", f"{lab.environment}/bin", command)
        command = _replaced(r"(?='RAY_AUTH_MODE)", "'PYTHONPATH=$HOME/sweeper' ", command)  # it may have another copy
    return command


def _needed(commands: Sequence[str], lab: Lab) -> list[str]:
    """Without what only installs, where everything is there."""
    return [each for each in commands if not (lab.environment and any(sign in each for sign in _INSTALLS))]


def _offering(command: str, role: str, lab: Lab) -> str:
    """A start command that says what the machine offers: on a cloud the kind of a node says that."""
    if "ray start " not in command:
        return command
    if role == "head" and not lab.head_works:
        return f"{command} --num-cpus=0 --num-gpus=0"
    return f"{command} --num-cpus={lab.cpus}" if lab.cpus else command


def _replaced(pattern: str, text: str, command: str) -> str:
    changed, count = re.subn(pattern, lambda _: text, command)
    if count != 1:
        raise ValueError(
            f"{SOURCE.name}: what {pattern!r} stands for is there {count} times, not once: {command[:60]}..."
        )
    return changed
