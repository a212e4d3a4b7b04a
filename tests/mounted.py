"""File systems that programs serve (FUSE), mounted for a test: some lack what a study needs.

Nothing leaves the machine, and nothing is left mounted; a test is skipped where the programs are not,
with a reason that names their Debian packages.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_DEBIAN = {"sshfs": "sshfs", "rclone": "rclone", "fusermount3": "fuse3"}
_DEBIAN |= {"glusterfs": "glusterfs-client", "glusterfsd": "glusterfs-server"}
_SFTP = Path("/usr/lib/openssh/sftp-server")
_START_SECONDS = 30
GLUSTER_SERVER = """
volume files
  type storage/posix
  option directory {folder}
end-volume
volume locks
  type features/locks
  subvolumes files
end-volume
volume server
  type protocol/server
  option transport-type tcp
  option transport.address-family inet
  option transport.socket.bind-address {address}
  option transport.socket.listen-port {port}
  option auth.addr.locks.allow *
  subvolumes locks
end-volume
"""
GLUSTER_CLIENT = """
volume remote
  type protocol/client
  option transport-type tcp
  option transport.address-family inet
  option remote-host {address}
  option remote-port {port}
  option remote-subvolume locks
  option ping-timeout 10
end-volume
"""
"""Both ends of a folder that is served, as GlusterFS reads them; who does not answer for 10 s is given up."""


@contextmanager
def by_ssh(folder: Path, *, without: str = "") -> Iterator[tuple[Path, Path]]:
    """One folder as two machines have it by sshfs, without ssh between; locks do not reach from one to the other.

    Args:
        without: a request that the server does not know, as `posix-rename`.
    """
    _need("sshfs", "fusermount3")
    if not _SFTP.exists():
        pytest.skip("needs the server of sftp: apt-get install openssh-sftp-server")
    folder.mkdir()
    (folder / "files").mkdir()
    server = folder / "server"
    server.write_text(f"#!/bin/sh\nexec {_SFTP} {f'-P {without}' if without else ''}\n")
    server.chmod(0o700)
    command = ["sshfs", "-f", "-o", f"ssh_command={server}", f"here:{folder / 'files'}"]
    with _mounted(command, folder / "one") as one, _mounted(command, folder / "other") as other:
        yield one, other


@contextmanager
def bucket(folder: Path) -> Iterator[Path]:
    """A bucket in the memory of the program that mounts it."""
    _need("rclone", "fusermount3")
    folder.mkdir()
    command = ["rclone", "mount", "--config", "/dev/null", "--cache-dir", str(folder / "cache")]
    with _mounted([*command, "--vfs-cache-mode", "full", ":memory:bucket"], folder / "bucket") as made:
        yield made


@contextmanager
def by_gluster(folder: Path, *, cached: bool = True) -> Iterator[tuple[Path, Path]]:
    """One folder as two machines have it by GlusterFS, whose locks they share.

    Args:
        cached: whether each machine keeps what it has read for a while, as GlusterFS is mounted by itself.
    """
    _need("glusterfs", "glusterfsd", "fusermount3")
    if os.geteuid() != 0:
        pytest.skip("GlusterFS is mounted by root")
    folder.mkdir()
    (folder / "files").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port, words = free.getsockname()[1], {}
    for name, text in (("glusterfsd", GLUSTER_SERVER), ("glusterfs", GLUSTER_CLIENT)):
        file = folder / f"{name}.vol"
        file.write_text(text.format(folder=folder / "files", address="127.0.0.1", port=port))
        words[name] = [name, "--no-daemon", "--volfile", str(file), "--log-file", f"{file}.log"]
    if not cached:
        words["glusterfs"] += ["--direct-io-mode=enable", "--attribute-timeout=0", "--entry-timeout=0"]
    server = subprocess.Popen(words["glusterfsd"])
    try:
        _until(lambda: _listens(port), server)  # who comes first tries again after 3 s
        with (
            _mounted(words["glusterfs"], folder / "one") as one,
            _mounted(words["glusterfs"], folder / "other") as other,
        ):
            yield one, other
    finally:
        server.kill()
        server.wait()


@contextmanager
def _mounted(command: list[str], place: Path) -> Iterator[Path]:
    place.mkdir()
    process = subprocess.Popen([*command, str(place)])
    try:
        _until(lambda: _is_mounted(place), process)
        yield place
    finally:
        subprocess.run(["fusermount3", "-u", "-z", str(place)], capture_output=True, check=False)
        process.terminate()
        process.wait()


def _until(reached: Callable[[], bool], process: subprocess.Popen) -> None:
    end = time.monotonic() + _START_SECONDS
    while not reached():
        assert process.poll() is None, f"{process.args} ended with {process.returncode}"
        assert time.monotonic() < end, f"{process.args} does not come up in {_START_SECONDS} s"
        time.sleep(0.02)


def _is_mounted(place: Path) -> bool:
    try:
        return os.path.ismount(place) and os.listdir(place) is not None
    except OSError:  # its server is not reached yet
        return False


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def _need(*programs: str) -> None:
    missing = [_DEBIAN[each] for each in programs if not shutil.which(each)]
    if missing:
        pytest.skip(f"needs {', '.join(programs)}: apt-get install {' '.join(missing)}")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("this kernel has no FUSE, by which programs serve file systems")
