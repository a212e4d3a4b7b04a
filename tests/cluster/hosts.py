"""Several hosts on one machine: each has its own address, name, processes, home and /tmp, and is reached by ssh.

A host is a set of Linux namespaces whose first process is an sshd. They share a folder, as a lab's machines do, and the
Python environment of the tests; nothing leaves their network, which has no way out. Needs root.

The folder is one of this machine, or is served: then each host reaches it through its cable alone, by GlusterFS, whose
two ends are plain programs (the kernel's NFS is not in every kernel), and who is cut off is without it.
"""

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mounted import GLUSTER_CLIENT, GLUSTER_SERVER
from processes import Process, end, tree

SHARED = Path("/srv/shared")
"""The folder that all hosts see under this name."""
_DEBIAN = {"ip": "iproute2", "ssh": "openssh-client", "ssh-keygen": "openssh-client", "rsync": "rsync"}
_DEBIAN |= {
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "/usr/sbin/sshd": "openssh-server",
}
_SERVING = {"glusterfsd": "glusterfs-server", "glusterfs": "glusterfs-client"}
_LARGEST = 20
"""Hosts that have a name from the start."""
_START_SECONDS = 60
_FILES_PORT = 24007
_PERIOD = 20_000
"""Microseconds in which a host that has a share of a core gets it: shorter than what is timed, longer than a switch."""
STORE_BYTES = 200_000_000
"""Of a host's memory, what Ray keeps for objects: a study's are small."""

_INIT = r"""
set -e
until ip link show eth0 > /dev/null 2>&1; do sleep 0.05; done
ip link set lo up
ip address add $ADDRESS/24 dev eth0
ip link set eth0 up
hostname $NAME
mount --make-rprivate /
mount -t tmpfs tmpfs /srv
mkdir /srv/home /srv/shared /srv/tmp
mount --bind "$FOLDER/home" /srv/home
mount --bind "$FOLDER/tmp" /srv/tmp
if [ -e "$COMMON/client.vol" ]; then
    glusterfs --volfile "$COMMON/client.vol" --log-file "$FOLDER/files.log" /srv/shared
else
    mount --bind "$COMMON/shared" /srv/shared
fi
mount --bind "$COMMON/passwd" /etc/passwd
mount --bind "$COMMON/hosts" /etc/hosts
number=0
for place in "$@"; do
    number=$((number + 1)); mkdir /srv/python$number; mount --bind "$place" /srv/python$number
done
mkdir /srv/ssh; cp "$COMMON"/ssh/* /srv/ssh; chmod 600 /srv/ssh/*
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mkdir -p -m 755 /run/sshd
mount --bind /srv/tmp /tmp
number=0
for place in "$@"; do
    number=$((number + 1)); mkdir -p "$place"; mount --bind /srv/python$number "$place"
done
cd /
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /usr/sbin/sshd -D -e -f /srv/ssh/config
"""
"""What makes a host of a fresh set of namespaces. The environment may lie below /tmp, which is hidden by the host's."""

_SSHD = """
ListenAddress 0.0.0.0
HostKey /srv/ssh/key
AuthorizedKeysFile /srv/ssh/key.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile none
MaxStartups 100
MaxSessions 100
"""


@dataclass(frozen=True, kw_only=True)
class Host:
    """One running host."""

    name: str
    address: str
    link: str
    """The end of its cable at the switch."""
    home: Path
    """Its home folder, as seen from outside."""
    key: Path
    first: subprocess.Popen
    """The process whose end is the host's."""
    group: Path | None = None
    """The control group that holds it to its share of a core."""

    def run(self, command: str, *, seconds: float = 120) -> str:
        """Output of a command that a person runs on it by ssh."""
        done = subprocess.run(self.ssh(command), capture_output=True, text=True, timeout=seconds, check=False)
        assert done.returncode == 0, f"{self.name}: {command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def ssh(self, command: str) -> list[str]:
        """The words that run a command on it."""
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes"]
        words = ["ssh", "-i", str(self.key), *(word for each in options for word in ("-o", each))]
        return [*words, f"root@{self.address}", command]

    def processes(self) -> list[Process]:
        """All that runs on it, but for what makes it a host: its sshd with the sessions."""
        found = [each for each in tree(self.first.pid) if each.pid != self.first.pid]
        own = ("/usr/sbin/sshd", "sshd:", "glusterfs")
        return [each for each in found if not (each.command or [""])[0].startswith(own)]

    def kill(self) -> None:
        """Takes its power away: all of its processes die at once."""
        found = tree(self.first.pid)
        end(found[1:2] or found)  # the first of its namespace, with which the kernel ends the others
        self.first.wait()
        if self.group:
            self.group.rmdir()
        subprocess.run(["ip", "link", "delete", self.link], capture_output=True, check=False)  # goes later by itself

    def cut(self) -> None:
        """Pulls its cable: nothing comes or goes, and nobody is told."""
        _ip("link", "set", self.link, "down")

    def join(self) -> None:
        """Puts the cable back."""
        _ip("link", "set", self.link, "up")

    def lose(self, address: str) -> None:
        """Sends nothing to an address any more, and hears of it at once."""
        self.run(f"ip route add unreachable {address}")

    def find(self, address: str) -> None:
        """Knows the way to an address again."""
        self.run(f"ip route delete unreachable {address}")


@dataclass(kw_only=True)
class Network:
    """A switch, the hosts at it, and this machine, which has an address there as well."""

    number: int
    """Of its addresses, 10.77.NUMBER.*."""
    folder: Path
    hosts: dict[str, Host] = field(default_factory=dict)
    server: subprocess.Popen | None = None
    """Of the shared folder, where it is served."""

    @property
    def bridge(self) -> str:
        return f"sweeper{self.number}"

    @property
    def key(self) -> Path:
        """What opens every host."""
        return self.folder / "ssh" / "key"

    @property
    def shared(self) -> Path:
        """The folder that the hosts share, as seen from outside."""
        return self.folder / "shared"

    def address(self, place: int) -> str:
        return f"10.77.{self.number}.{place}"

    def start(self, place: int, *, share: float | None = None) -> Host:
        """Switches a host on; one that was killed comes back with the home that it had.

        Args:
            place: its number at the switch, from 1.
            share: how much of this machine's cores its processes get together, at most, as 0.5; all, when None.
        """
        name, link = f"host{place}", f"{self.bridge}h{place}"
        folder = self.folder / name
        for each in ("home", "tmp"):
            (folder / each).mkdir(parents=True, exist_ok=True)
        (folder / "tmp").chmod(0o1777)
        shell = folder / "home" / ".bashrc"
        if not shell.exists():
            shell.write_text(f"export RAY_OVERRIDE_RESOURCES='{{\"object_store_memory\": {STORE_BYTES}}}'\n")
        settings = {"NAME": name, "ADDRESS": self.address(place), "FOLDER": str(folder), "COMMON": str(self.folder)}
        group = _group(f"{self.bridge}-{name}", share) if share else None
        held = ["sh", "-c", 'echo $$ > "$0/cgroup.procs"; exec "$@"', str(group)] if group else []
        spaces = ["unshare", "--net", "--uts", "--ipc", "--pid", "--mount", "--fork", "--mount-proc", "--kill-child"]
        with (folder / "sshd.log").open("a") as log:
            first = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *held, *spaces, "bash", "-c", _INIT, "init", *_python()],
                env=os.environ | settings,
                stdout=log,
                stderr=log,
            )
        home = folder / "home"
        host = Host(
            name=name, address=self.address(place), link=link, home=home, key=self.key, first=first, group=group
        )
        self.hosts[name] = host
        _until(lambda: _own_network(first.pid), host, folder / "sshd.log")
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(first.pid))
        _ip("link", "set", link, "master", self.bridge, "up")
        _until(lambda: _answers(host.address), host, folder / "sshd.log")
        return host

    def close(self) -> None:
        """Switches everything off."""
        for host in self.hosts.values():
            if host.first.poll() is None:
                host.kill()
        if self.server:
            self.server.kill()
            self.server.wait()
        _ip("link", "delete", self.bridge)

    @property
    def files(self) -> str:
        """The address of who serves the shared folder, which has no other use."""
        return self.address(253)

    def serve(self) -> None:
        """Has the hosts that are started from now on reach the shared folder by their cables."""
        _ip("address", "add", f"{self.files}/24", "dev", self.bridge)
        for name, text in (("server", GLUSTER_SERVER), ("client", GLUSTER_CLIENT)):
            known = {"folder": self.shared, "address": self.files, "port": _FILES_PORT}
            (self.folder / f"{name}.vol").write_text(text.format(**known))
        files = ["--volfile", str(self.folder / "server.vol"), "--log-file", str(self.folder / "server.log")]
        self.server = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "glusterfsd", "--no-daemon", *files])


def lacking(*, served: bool = False) -> str:
    """Why there can be no hosts on this machine, or none with a served folder; empty when there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "hosts are made of Linux namespaces, by root"
    needed = _DEBIAN | (_SERVING if served else {})
    missing = sorted({package for program, package in needed.items() if not shutil.which(program)})
    if missing:
        return f"hosts need {', '.join(missing)}: apt-get install {' '.join(missing)}"
    if served and not Path("/dev/fuse").exists():
        return "this kernel has no FUSE, by which hosts reach a served folder"
    made = subprocess.run(["unshare", "--net", "--pid", "--mount", "--fork", "true"], capture_output=True, check=False)
    return f"this kernel makes no namespaces: {made.stderr.decode().strip()}" if made.returncode else ""


@contextmanager
def network(folder: Path) -> Iterator[Network]:
    """A network without hosts, whose files lie in a folder; afterwards nothing of it is left."""
    made = Network(number=_new_bridge(), folder=folder)
    try:
        _ip("address", "add", f"{made.address(254)}/24", "dev", made.bridge)
        _ip("link", "set", made.bridge, "up")
        (folder / "ssh").mkdir(parents=True)
        made.shared.mkdir(mode=0o755)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(made.key)], check=True)
        (folder / "ssh" / "config").write_text(_SSHD)
        names = [f"{made.address(place)} host{place}" for place in range(1, _LARGEST + 1)]
        (folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *names, ""]))
        (folder / "passwd").write_text(_at_home(Path("/etc/passwd").read_text()))
        yield made
    finally:
        made.close()


def _at_home(passwd: str) -> str:
    """The users of this machine; root lives in the host's own home."""
    lines = [line.split(":") for line in passwd.splitlines()]
    return "".join(":".join([*line[:5], "/srv/home", line[6]] if line[0] == "root" else line) + "\n" for line in lines)


def _new_bridge() -> int:
    """The number of a bridge that did not exist, and does now."""
    for number in range(256):
        made = subprocess.run(["ip", "link", "add", f"sweeper{number}", "type", "bridge"], capture_output=True)
        if made.returncode == 0:
            return number
        assert b"exists" in made.stderr, made.stderr.decode()
    raise AssertionError("256 networks are left over: ip link delete sweeper0, ...")


def _python() -> list[str]:
    """The folders of the Python that runs this, with all that is installed in it."""
    return sorted({sys.prefix, sys.base_prefix})


def _group(name: str, share: float) -> Path:
    """A new control group whose processes get that share of a core, by either version of Linux's control groups."""
    first = Path("/sys/fs/cgroup/cpu")
    group = (first if first.is_dir() else Path("/sys/fs/cgroup")) / name
    group.mkdir()
    quota = round(share * _PERIOD)
    if first.is_dir():
        (group / "cpu.cfs_period_us").write_text(f"{_PERIOD}")
        (group / "cpu.cfs_quota_us").write_text(f"{quota}")
    else:
        (group / "cpu.max").write_text(f"{quota} {_PERIOD}")
    return group


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(['ip', *words])}: {done.stderr}"


def _own_network(pid: int) -> bool:
    return os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")


def _answers(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=1) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _until(reached: Callable[[], bool], host: Host, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not reached():
        assert host.first.poll() is None, f"{host.name} ended: {log.read_text()}"
        assert time.monotonic() < deadline, f"{host.name} does not come up: {log.read_text()}"
        time.sleep(0.05)
