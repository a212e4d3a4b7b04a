"""The right to run a study: one driver works on it at a time, and one that died or sleeps is replaced.

Nothing here stops a sleeper from writing: whoever writes for a study asks `Lease.check` first.

A folder that all drivers share holds `lease.json`, which names the newest holder, and two files of that holder: an OS
lock, which the kernel frees however the process dies, and a heartbeat, whose age the file system's own clock tells. The
token is a fencing token (Kleppmann 2016): it grows with each acquisition and is never given twice.
"""

import dataclasses
import json
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from sweeper.locks import is_unlocked, kernel, locked
from sweeper.work import now_in

EXPIRY_SECONDS = 60.0
"""A holder whose last heartbeat is older has lost the lease, even if its process exists."""
BEAT_SECONDS = 5.0
"""Time between heartbeats."""

_POLL_SECONDS = 0.2
_SAY_SECONDS = 60.0
_LOCK_SECONDS = 30.0
_QUIET_BEATS = 3
_STALE_SECONDS = 30.0  # sshfs shows the time that a file had 20 s ago
_KEPT = "what it has finished is kept; run the same command again"


class LeaseLostError(RuntimeError):
    """This driver no longer holds its study and must write nothing more for it."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a study: the content of `lease.json`."""

    token: int
    """1 for the first acquisition, then one more with each."""
    host: str
    kernel: str
    """What tells one running kernel from another: the processes of one see each other's locks for certain."""
    pid: int
    since: str
    """UTC, to the second."""
    beat_seconds: float
    expiry_seconds: float

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host} (token {self.token})"


class Lease:
    """A study held by this process, from `acquire` until `release`, the end of the process or a long sleep."""

    def __init__(self, folder: Path, holder: Holder, lock: FileLock) -> None:
        self.folder, self.token = folder, holder.token
        self._holder, self._lock = holder, lock
        self._lost: str | None = None
        """Why the lease is not held any more; once set it stays."""
        self._renewed = _clock()
        self._ended = threading.Event()
        threading.Thread(target=self._beat, name=f"lease of {folder.name}", daemon=True).start()

    @property
    def held(self) -> bool:
        """Whether `check` would pass."""
        return self._why_lost() is None

    def check(self) -> None:
        """Passes while this process holds the study; raises LeaseLostError when it does not."""
        if why := self._why_lost():
            raise LeaseLostError(why)

    def release(self) -> None:
        """Frees the study for the next driver; a second call does nothing."""
        if self._ended.is_set() or os.getpid() != self._holder.pid:  # a forked child leaves its parent's lease alone
            return
        self._ended.set()
        self._lock.release()
        if self._why_lost() is None:  # after the lock: without a heartbeat the study counts as free
            self._lost = f"study {self.folder.name} was released by this driver"
            _file(self.folder, self.token, "beat").unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _why_lost(self) -> str | None:
        if self._lost is None:
            try:
                newest = _read(self.folder)
            except OSError as error:
                self._bear(error)
            except ValueError as error:
                self._lost = str(error)
            else:
                if newest != self._holder:
                    taken = f"was taken over by {newest} while this driver slept" if newest else "lost its lease.json"
                    self._lost = f"study {self.folder.name} {taken}; {_KEPT}"
        return self._lost

    def _bear(self, error: OSError) -> None:
        """Loses the lease once others may take the study; a share that comes back before costs nothing."""
        silent = _clock() - self._renewed
        if silent > self._holder.expiry_seconds:
            trouble = f"could not be renewed in {self.folder} for {silent:.0f} s ({error})"
            self._lost = f"study {self.folder.name} {trouble}; {_KEPT} when that is mended"

    def _beat(self) -> None:
        while not self._ended.wait(self._holder.beat_seconds) and self._why_lost() is None:
            now = _clock()
            try:
                os.utime(_file(self.folder, self.token, "beat"))  # of a file that the next holder removes
                self._renewed = now
            except OSError as error:
                self._bear(error)


def acquire(
    folder: Path,
    *,
    patience: float | None = None,
    say: Callable[[str], None] = print,
    expiry_seconds: float = EXPIRY_SECONDS,
    beat_seconds: float = BEAT_SECONDS,
) -> Lease:
    """The lease of the study whose shared files lie in `folder`, as soon as nobody else holds it.

    A wait is told to `say`, one sentence at its start and one a minute. `patience` is its limit in seconds; None waits
    as long as the holder shows signs of life. A holder is judged by the expiry that it was acquired with.

    Raises TimeoutError after `patience`, and OSError where the file system has no locks.
    """
    if not 0 < _QUIET_BEATS * beat_seconds <= expiry_seconds:
        raise ValueError(f"a lease of {expiry_seconds:g} s needs a beat of at most a third of it, not {beat_seconds:g}")
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    began = word_due = time.monotonic()
    while True:
        holder = _read(folder)
        if holder is None or _is_gone(folder, holder):
            if lease := _claim(folder, expiry_seconds, beat_seconds):
                return lease
            continue  # another driver was quicker
        now = time.monotonic()
        if patience is not None and now - began >= patience:
            raise TimeoutError(f"{_sentence(folder, holder)}: end that driver, or run the same command later")
        if now >= word_due:
            say(f"{_sentence(folder, holder)}; this driver waits for it to end")
            word_due = now + _SAY_SECONDS
        time.sleep(_POLL_SECONDS)


def refuse_unshared(folder: Path, say: Callable[[str], None] = print) -> None:
    """Passes unless another machine's driver runs the study that lies in `folder`, and its lock is not seen here.

    Locks that stay on one machine let two write to one SQLite file at once, which spoils it. A free lock is no proof:
    its holder may have died just now. That its heart beats twice more is. Raises OSError where that is so.
    """
    holder = _read(folder)
    if holder is None or holder.kernel == kernel():
        return
    beats: set[float] = set()
    while _silence(folder, holder) < _STALE_SECONDS and is_unlocked(_file(folder, holder.token, "lock")):
        if not beats:
            say(f"study {folder.name}: looking whether {holder} still runs, whose lock is free")
        beats.add(_last_beat(folder, holder))
        if len(beats - {-math.inf}) > 2:
            raise OSError(
                f"study {folder.name} is run by {holder}, whose lock in {folder} is not seen on this machine, so that "
                "two would write one database: mount the storage with locks on both, have a server keep the record "
                "(MLFLOW_TRACKING_URI), or wait until that driver has ended"
            )
        time.sleep(_POLL_SECONDS)


def _claim(folder: Path, expiry_seconds: float, beat_seconds: float) -> Lease | None:
    """The lease, unless another driver took it first; a death between any two steps leaves the study free."""
    with _critical(folder), ExitStack() as undo:
        last = _read(folder)
        if last and not _is_gone(folder, last):
            return None
        holder = Holder(
            token=last.token + 1 if last else 1,
            host=socket.gethostname(),
            kernel=kernel(),
            pid=os.getpid(),
            since=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
            beat_seconds=beat_seconds,
            expiry_seconds=expiry_seconds,
        )
        lock = locked(_file(folder, holder.token, "lock"), seconds=0)
        undo.callback(lock.release)
        _file(folder, holder.token, "beat").touch()
        _write(folder, holder)  # from here on the token is taken
        _remove_others(folder, holder.token)
        undo.pop_all()
    return Lease(folder, holder, lock)


def _is_gone(folder: Path, holder: Holder) -> bool:
    """Whether the study is free: released, or its holder dead or asleep."""
    silent = _silence(folder, holder)
    if silent > holder.expiry_seconds:
        return True
    if holder.kernel != kernel() and silent <= _QUIET_BEATS * holder.beat_seconds:
        return False  # some mounts keep locks to one host: a free lock of another host proves nothing while it beats
    return is_unlocked(_file(folder, holder.token, "lock"))


def _silence(folder: Path, holder: Holder) -> float:
    """Seconds since the holder's last heartbeat, by the clock of the file system; infinite without one.

    The present is read first, so that a pause of this process between the two readings cannot make the holder older.
    """
    return now_in(folder) - _last_beat(folder, holder)


def _last_beat(folder: Path, holder: Holder) -> float:
    try:
        with _file(folder, holder.token, "beat").open("rb") as beat:  # opening makes NFS ask its server again
            return os.fstat(beat.fileno()).st_mtime
    except FileNotFoundError:
        return -math.inf


def _sentence(folder: Path, holder: Holder) -> str:
    silent = _silence(folder, holder)
    sign = "no sign of life" if math.isinf(silent) else f"its last sign of life {max(silent, 0):.0f} s ago"
    return f"study {folder.name} is held by {holder} since {holder.since}, {sign}"


def _file(folder: Path, token: int, kind: str) -> Path:
    return folder / f"holder-{token}.{kind}"


def _read(folder: Path) -> Holder | None:
    path = folder / "lease.json"
    try:
        return Holder(**json.loads(path.read_text()))
    except FileNotFoundError:
        folder.stat()  # a study never held has no lease.json; a share that went away has no folder either
        return None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is not what a driver writes ({error}): end all drivers and remove it") from error


def _write(folder: Path, holder: Holder) -> None:
    new = _file(folder, holder.token, "new")
    with new.open("w") as file:
        json.dump(dataclasses.asdict(holder), file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(folder / "lease.json")
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _remove_others(folder: Path, token: int) -> None:
    for path in folder.glob("holder-*"):
        if not path.name.startswith(f"holder-{token}."):
            path.unlink(missing_ok=True)


@contextmanager
def _critical(folder: Path) -> Iterator[None]:
    """The few steps that one process at a time may take."""
    try:
        lock = locked(folder / "lease.lock", seconds=_LOCK_SECONDS)
    except Timeout as error:
        raise TimeoutError(
            f"{error.lock_file} was locked by another process for {_LOCK_SECONDS:g} s, which takes milliseconds: "
            "continue or end the stopped driver of this study and run the same command again"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _clock() -> float:
    """Seconds, those of a suspended machine included where the system counts them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
