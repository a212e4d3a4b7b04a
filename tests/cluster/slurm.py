"""Slurm on hosts of this machine: the first is the controller, on which people submit; the others train.

As on a university's cluster, the home and the project's folder are on all hosts. Slurm tells the processes of a job
apart by control groups, so nothing of a job outlives it.
"""

import json
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hosts import SHARED, STORE_BYTES, Host, Network, network
from lab import wait_for
from processes import Process

ROOT = Path(__file__).parents[2]
HOME = SHARED / "home"
PROJECT = HOME / "sweeper"
"""Where a person has the project."""
_GROUPS = Path("/sys/fs/cgroup/freezer")
_DEBIAN = {"slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client", "munged": "munge"}
_SECONDS = 120
_CONFIGURATION = """
ClusterName=lab
SlurmctldHost=host1
SlurmUser=root
AuthType=auth/munge
StateSaveLocation=/srv/tmp/slurmctld
SlurmdSpoolDir=/srv/tmp/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
ProctrackType=proctrack/cgroup
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
"""
"""Where Slurm leaves a choice, what most sites choose; a node may have more CPUs than it offers."""

_ENVIRONMENT = {
    "SLURM_CONF": f"{SHARED}/slurm.conf",
    "SWEEPER_STORAGE": f"{SHARED}/storage",
    "SWEEPER_DATA": f"{SHARED}/data",
    "PYTHONPATH": str(PROJECT),  # the environment may hold another copy
    "RAY_OVERRIDE_RESOURCES": json.dumps({"object_store_memory": STORE_BYTES}),
}
"""Of whoever logs in."""


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """A cluster that takes jobs, and the person who submits them."""

    network: Network

    @property
    def nodes(self) -> list[Host]:
        """The hosts that run jobs."""
        return [host for name, host in self.network.hosts.items() if name != "host1"]

    @property
    def project(self) -> Path:
        """The project's folder, as seen from outside."""
        return self.network.shared / PROJECT.relative_to(SHARED)

    def run(self, command: str, *, seconds: float = 120) -> str:
        """Output of a command that the person gives in the project's folder."""
        return self.network.hosts["host1"].run(f"cd {PROJECT} && {command}", seconds=seconds)

    def submit(self, command: str) -> int:
        """The number of the job of an `sbatch`."""
        return int(self.run(command.replace("sbatch ", "sbatch --parsable ", 1)))

    def told(self, job: int) -> dict[str, str]:
        """What Slurm knows of a job: JobState, ExitCode and more."""
        return dict(re.findall(r"(\w+)=(\S+)", self.run(f"scontrol show job {job}")))

    def said(self, job: int) -> str:
        """What a job has printed so far."""
        file = self.project / f"slurm-{job}.out"
        return file.read_text() if file.exists() else ""

    def ended(self, job: int, *, seconds: float = 300) -> str:
        """State and exit code of a job once it has ended, such as `COMPLETED 0:0`."""

        def reached() -> bool:
            return self.told(job)["JobState"] not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING")

        wait_for(reached, f"job {job} to end", seconds=seconds, say=lambda: self.said(job))
        found = self.told(job)
        return f"{found['JobState']} {found['ExitCode']}"

    def left(self) -> list[Process]:
        """What runs on the nodes but for Slurm itself."""
        own = ("munged", "slurmd", "slurmctld", "slurmstepd:")
        found = [each for host in self.nodes for each in host.processes()]
        return [each for each in found if (command := each.command) and Path(command[0]).name not in own]


def missing() -> str:
    """Why there can be no Slurm on this machine; empty when there can."""
    packages = sorted({package for program, package in _DEBIAN.items() if not shutil.which(program)})
    if packages:
        return f"Slurm is not installed: apt-get install {' '.join(packages)}"
    return "" if (_GROUPS / "tasks").exists() else f"{_GROUPS} is not there: Slurm's first kind of control groups"


@contextmanager
def slurm(folder: Path, *, nodes: int, cpus: int) -> Iterator[Slurm]:
    """A cluster with idle nodes of so many CPUs each; afterwards nothing of it is left."""
    with network(folder) as made:
        _prepare(made, nodes, cpus)
        try:
            for place in range(1, nodes + 2):
                _start(made.start(place), made)
            here = Slurm(network=made)
            wait_for(lambda: _idle(here) == nodes, f"{nodes} idle nodes", seconds=_SECONDS, say=lambda: _logs(made))
            yield here
        finally:
            for host in made.hosts.values():
                host.kill()
            _remove_groups(made)


def _prepare(made: Network, nodes: int, cpus: int) -> None:
    """What all hosts share: who is who, Slurm's settings and key, and the person's home with the project."""
    users = made.folder / "passwd"
    users.write_text(users.read_text().replace(":/srv/home:", f":{HOME}:"))
    (made.folder / "ssh" / "munge.key").write_bytes(secrets.token_bytes(128))
    names = [f"NodeName=host{place} NodeAddr={made.address(place)} CPUs={cpus}" for place in range(2, nodes + 2)]
    partition = "PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE"
    (made.shared / "slurm.conf").write_text("\n".join([_CONFIGURATION, *names, partition, ""]))
    (made.shared / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupMountpoint=/srv/groups\n")
    home = made.shared / HOME.relative_to(SHARED)
    project = made.shared / PROJECT.relative_to(SHARED)
    (home / ".ray").mkdir(parents=True)
    lines = [f"export {name}='{value}'" for name, value in _ENVIRONMENT.items()]
    (home / ".bashrc").write_text("\n".join([*lines, ""]))
    token = home / ".ray" / "auth_token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    for room in ("sweeper", "analysis"):
        shutil.copytree(ROOT / room, project / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "slurm.sh", project)
    (project / ".venv").symlink_to(sys.prefix)


def _start(host: Host, made: Network) -> None:
    """Has a host do its part. A control group of its own is all that it sees of them."""
    munge = (
        "/usr/sbin/munged --force --key-file=/srv/ssh/munge.key --log-file=/srv/tmp/munged.log --seed-file=/run/seed"
    )
    host.run(f"mkdir -m 755 /run/munge && {munge} --pid-file=/run/munged.pid")
    if host.name == "host1":
        host.run(f"mkdir /srv/tmp/slurmctld && SLURM_CONF={SHARED}/slurm.conf slurmctld -L /srv/tmp/slurmctld.log")
        return
    group = _group(host)
    group.mkdir()
    enter = (
        f"echo $$ > {group}/cgroup.procs && mkdir -p /srv/groups/freezer && mount --bind {group} /srv/groups/freezer"
    )
    daemon = f"SLURM_CONF={SHARED}/slurm.conf unshare --cgroup slurmd -L /srv/tmp/slurmd.log"
    host.run(f"{enter} && {daemon}")


def _group(host: Host) -> Path:
    return _GROUPS / host.link


def _remove_groups(made: Network) -> None:
    """The kernel removes a group only when nothing is in it, a moment after its processes have died."""
    for host in made.hosts.values():
        folders = [each for each in [*_group(host).rglob("*"), _group(host)] if each.is_dir()]
        for each in sorted(folders, key=lambda path: -len(path.parts)):
            wait_for(lambda each=each: not (each / "cgroup.procs").read_text(), f"{each} to empty", seconds=_SECONDS)
            each.rmdir()


def _idle(here: Slurm) -> int:
    return here.run("sinfo --noheader --Node --format=%t").split().count("idle")


def _logs(made: Network) -> str:
    return "\n".join(path.read_text()[-3000:] for path in sorted(made.folder.glob("host*/tmp/slurm*.log")))
