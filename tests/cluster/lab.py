"""A lab's cluster on the hosts of this machine, brought up and used as a person does: `ray up`, `ray exec`, `ray down`.

The head is the first host. Whoever types lives in a home of their own, outside the hosts.
"""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from driving import NAME
from hosts import SHARED, Host, Network, network
from processes import Process, named

ROOT = Path(__file__).parents[2]
_UP_SECONDS = 300
_DOWN_SECONDS = 180
"""How long workers may take to see that their head is gone."""


READ = f"""
import pickle
from analysis import frames
from sweeper.site import Site
reads = (frames.runs, frames.epochs, frames.predictions, frames.probes)
tables = {{read.__name__: read("{NAME}", Site.from_environment()) for read in reads}}
open("{SHARED}/frames.pkl", "wb").write(pickle.dumps(tables))
"""
"""Run on the head, leaves the frames of the study of this name in the shared folder."""


@dataclass(frozen=True, kw_only=True)
class Lab:
    """A cluster of hosts, and the person who uses it."""

    network: Network
    desk: Path
    """Home of the person."""
    cpus: int = 1
    """That each worker offers."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """What the person's shell has set besides."""

    @property
    def head(self) -> Host:
        return self.network.hosts["host1"]

    @property
    def tracking(self) -> str:
        """MLflow's address."""
        return f"http://{self.head.address}:5000"

    def up(self, workers: list[Host], *, restart: bool = True) -> None:
        """`ray up` for these workers, until they have all joined; without a restart it only adds some."""
        words = ["local", "--head", self.head.address, "--workers", *(each.address for each in workers)]
        words += ["--user", "root", "--key", str(self.network.key), "--cpus", str(self.cpus)]
        words += ["--storage", f"{SHARED}/storage", "--data", f"{SHARED}/data", "--environment", sys.prefix]
        made = self._desk([sys.executable, "-m", "sweeper.cluster", *words], seconds=60)
        (self.desk / "lab.yaml").write_text(made)
        self.bring_up(restart=restart)
        wanted = {self.head.address, *(each.address for each in workers)}
        wait_for(lambda: wanted <= self.alive(), f"{wanted} to join", seconds=_UP_SECONDS, say=self._monitor)

    def bring_up(self, *, restart: bool = True) -> None:
        """`ray up` of the cluster that `lab.yaml` on the desk describes; workers may still be coming."""
        self._ray("up", "--yes", "--no-config-cache", *([] if restart else ["--no-restart"]), seconds=_UP_SECONDS)

    def down(self) -> None:
        """Ends Ray on all hosts, the head's services, and what is left to the person's own Ray."""
        self.run("cd ~/sweeper && python -m sweeper.cluster down")
        self.take_down()

    def take_down(self) -> None:
        """`ray down`."""
        self._ray("down", "--yes", seconds=_UP_SECONDS)

    def run(self, command: str, *, seconds: float = 120) -> str:
        """Output of a command on the head, by `ray exec`."""
        return self._ray("exec", command, seconds=seconds)

    def start(self, command: str, log: Path) -> subprocess.Popen:
        """`ray exec` with a command that takes long, whose output goes to a file."""
        with log.open("w") as output:
            return subprocess.Popen(
                self._words("exec", command), cwd=ROOT, env=self._environment(), stdout=output, stderr=output
            )

    def alive(self) -> set[str]:
        """Addresses of the nodes that Ray holds for alive."""
        return set(self.head.run(f"{sys.prefix}/bin/python -S -c {shlex.quote(_ALIVE)}").split())

    def _monitor(self) -> str:
        return self.head.run("tail -n 60 /tmp/ray/session_latest/logs/monitor.* 2>&1")

    def _ray(self, verb: str, *more: str, seconds: float) -> str:
        return self._desk(self._words(verb, *more), seconds=seconds)

    def _words(self, verb: str, *more: str) -> list[str]:
        """`ray VERB lab.yaml`, by the code of the tests' own environment."""
        flags = [each for each in more if each.startswith("--")]
        rest = [each for each in more if not each.startswith("--")]
        return [f"{sys.prefix}/bin/ray", verb, *flags, str(self.desk / "lab.yaml"), *rest]

    def _desk(self, words: list[str], *, seconds: float) -> str:
        done = subprocess.run(
            words, cwd=ROOT, env=self._environment(), capture_output=True, text=True, timeout=seconds, check=False
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _environment(self) -> dict[str, str]:
        own = {"HOME": str(self.desk), "RAY_TMPDIR": str(self.desk / "tmp"), "RAY_AUTH_MODE": "token"}
        return {"PATH": os.environ["PATH"], "TERM": "dumb", "COLUMNS": "200", **own, **self.settings}


_ALIVE = """
import json, pathlib, urllib.request
token = pathlib.Path.home().joinpath(".ray/auth_token").read_text().strip()
asked = urllib.request.Request("http://127.0.0.1:8265/api/v0/nodes", headers={"Authorization": f"Bearer {token}"})
rows = json.load(urllib.request.urlopen(asked, timeout=30))["data"]["result"]["result"]
print(*[row["node_ip"] for row in rows if row["state"] == "ALIVE"])
"""
"""Asks the dashboard, which takes no time; Ray's own command takes seconds to start."""


@contextmanager
def lab(
    folder: Path, *, workers: int, cpus: int = 1, share: float | None = None, served: bool = False
) -> Iterator[Lab]:
    """A lab of a head and some workers, not brought up; afterwards nothing of it is left.

    Args:
        cpus: that each worker offers.
        share: how much of a core each worker has, at most; the head has a whole one then, and all have what they want
            when None.
        served: whether the folder that all share is reached by the network; else it is one of this machine's.
    """
    with network(folder / "network") as made:
        if served:
            made.serve()
        here = desk_at(made, folder / "desk", cpus=cpus)
        made.start(1, share=1.0 if share else None)
        for place in range(2, workers + 2):
            made.start(place, share=share)
        yield here


def desk_at(made: Network, desk: Path, *, cpus: int = 1, **settings: str) -> Lab:
    """The person's home, with the cluster's token in it, and what the hosts of a network share."""
    (desk / "tmp").mkdir(parents=True)
    for each in ("storage", "data"):
        (made.shared / each).mkdir()
    (desk / ".ray").mkdir(mode=0o700)
    here = Lab(network=made, desk=desk, cpus=cpus, settings=settings)
    here._desk([f"{sys.prefix}/bin/ray", "get-auth-token", "--generate"], seconds=60)
    return here


def left_over(hosts: list[Host], seconds: float = _DOWN_SECONDS) -> list[Process]:
    """What still runs on some hosts after so many seconds, or as soon as nothing does."""
    deadline = time.monotonic() + seconds
    while (found := [each for host in hosts for each in host.processes()]) and time.monotonic() < deadline:
        time.sleep(1)
    return found


def training(host: Host) -> list[Process]:
    """The processes of a host that train, or wait to."""
    return named(host.processes(), "ray::_Trial", "ray::ResourceTrainable")


def wait_for(reached: Callable[[], bool], what: str, *, seconds: float, say: Callable[[], str] = str) -> None:
    """Waits for something that must come; what `say` says is told when it does not."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}\n{say()}"
        time.sleep(0.5)
