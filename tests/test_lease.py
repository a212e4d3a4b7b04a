"""Leases held, lost and taken over by real processes that are killed, stopped and continued."""

import contextlib
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from filelock import FileLock
from mounted import by_gluster, by_ssh

from sweeper.lease import Lease, LeaseLostError, acquire, refuse_unshared

LIMIT = 60.0
"""Seconds after which a test gives up; nothing here is expected to come near."""
HOLD = """
    lease = acquire(folder, expiry_seconds={expiry}, beat_seconds={beat})
    print(lease.token, flush=True)
    for line in sys.stdin:
        try:
            lease.check()
            print("held", flush=True)
        except LeaseLostError as error:
            print(error, flush=True)
"""

Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "thorax"


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Starts Python code as a process of its own, which does not outlive the test."""
    started: list[subprocess.Popen[str]] = []

    def run(code: str) -> "subprocess.Popen[str]":
        head = f"""
            import os, subprocess, sys, time
            from pathlib import Path
            from sweeper.lease import LeaseLostError, acquire
            folder = Path({str(folder)!r})
        """
        source = textwrap.dedent(head) + textwrap.dedent(code)
        pipe = subprocess.PIPE
        started.append(subprocess.Popen([sys.executable, "-c", source], stdin=pipe, stdout=pipe, text=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate(timeout=LIMIT)


def hold(start: Start, *, expiry: float = 600, beat: float = 0.1) -> "subprocess.Popen[str]":
    return start(HOLD.format(expiry=expiry, beat=beat))


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ask(process: "subprocess.Popen[str]") -> str:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return line(process)


def kill(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait(timeout=LIMIT)


def beat_file(folder: Path, token: int = 1) -> Path:
    return folder / f"holder-{token}.beat"


def has_become(fact: Callable[[], bool]) -> bool:
    """Waits until `fact` holds; False when it never does."""
    end = time.monotonic() + LIMIT
    while not fact() and time.monotonic() < end:
        time.sleep(0.02)
    return fact()


def test_the_first_token_is_one(folder: Path) -> None:
    with acquire(folder) as lease:
        assert lease.token == 1


def test_a_token_grows_by_one_with_each_acquisition(folder: Path) -> None:
    tokens = []
    for _ in range(5):
        with acquire(folder, patience=LIMIT) as lease:
            tokens.append(lease.token)
    assert tokens == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("served", [by_gluster, by_ssh])
def test_a_study_is_taken_over_on_a_folder_that_is_served(
    tmp_path: Path, served: Callable[[Path], AbstractContextManager[tuple[Path, Path]]]
) -> None:
    with served(tmp_path / "mounts") as (shared, _):
        for token in (1, 2):
            with acquire(shared / "thorax", patience=LIMIT) as lease:
                assert lease.token == token
                lease.check()


def test_a_held_lease_passes_its_check(folder: Path) -> None:
    with acquire(folder) as lease:
        lease.check()
        assert lease.held


def test_a_released_lease_does_not_pass_its_check(folder: Path) -> None:
    lease = acquire(folder)
    lease.release()
    assert not lease.held
    with pytest.raises(LeaseLostError, match="thorax was released by this driver"):
        lease.check()


def test_a_released_lease_keeps_no_lock(folder: Path) -> None:
    acquire(folder).release()
    with FileLock(folder / "holder-1.lock", timeout=0) as lock:
        assert lock.is_locked


def test_a_second_release_does_not_free_the_next_holder(folder: Path) -> None:
    first = acquire(folder)
    first.release()
    with acquire(folder) as second:
        first.release()
        second.check()
        with pytest.raises(TimeoutError):
            acquire(folder, patience=0)


def test_a_lease_is_exclusive_within_one_process_too(folder: Path) -> None:
    with acquire(folder), pytest.raises(TimeoutError, match=f"thorax is held by pid {os.getpid()} on "):
        acquire(folder, patience=0)


def test_only_the_newest_holders_files_stay(folder: Path) -> None:
    for _ in range(3):
        acquire(folder).release()
    with acquire(folder):
        names = {path.name for path in folder.iterdir()}
    assert names == {"lease.json", "lease.lock", "holder-4.lock", "holder-4.beat"}


def test_a_beat_too_slow_for_the_expiry_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="a lease of 10 s needs a beat of at most a third of it, not 5"):
        acquire(folder, expiry_seconds=10, beat_seconds=5)


def test_the_heart_beats(folder: Path) -> None:
    with acquire(folder, beat_seconds=0.05):
        first = beat_file(folder).stat().st_mtime_ns
        assert has_become(lambda: beat_file(folder).stat().st_mtime_ns > first)


def test_drivers_never_hold_a_study_together(folder: Path, start: Start) -> None:
    """Read, pause, write: any two at once would lose an increment."""
    folder.mkdir()
    counter = folder / "counter"
    counter.write_text("0")
    driver = """
        for _ in range(10):
            with acquire(folder, patience=120, say=lambda word: None) as lease:
                count = int((folder / "counter").read_text())
                time.sleep(0.005)
                (folder / "counter").write_text(str(count + 1))
                lease.check()
                print(lease.token, flush=True)
    """
    drivers = [start(driver) for _ in range(5)]
    tokens = [int(token) for each in drivers for token in each.communicate(timeout=2 * LIMIT)[0].split()]
    assert counter.read_text() == "50"
    assert sorted(tokens) == list(range(1, 51))


def test_a_killed_holder_is_replaced_without_waiting_for_its_expiry(folder: Path, start: Start) -> None:
    holder = hold(start, expiry=10**6)
    assert line(holder) == "1"
    kill(holder)
    with acquire(folder, patience=0) as lease:
        assert lease.token == 2


@pytest.mark.parametrize(
    "child",
    ["subprocess.Popen(['sleep', '600'], close_fds=False, stdout=2)", "os.fork() or (os.close(1), time.sleep(600))"],
    ids=["spawned", "forked"],
)
def test_a_killed_holders_child_does_not_keep_the_lease(folder: Path, start: Start, child: str) -> None:
    holder = start(f"""
        lease = acquire(folder, expiry_seconds=10**6)
        child = {child}
        print(child if isinstance(child, int) else child.pid, flush=True)
        time.sleep(600)
    """)
    pid = int(line(holder))
    kill(holder)
    try:
        os.kill(pid, 0)  # the child lives
        with acquire(folder, patience=LIMIT) as lease:  # a forked one may first have to get its turn
            assert lease.token == 2
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_forked_child_that_leaves_the_block_does_not_free_the_lease(folder: Path, start: Start) -> None:
    holder = start("""
        with acquire(folder) as lease:
            child = os.fork()
            if child == 0:
                sys.exit()
            os.waitpid(child, 0)
            lease.check()
            print("held", flush=True)
            sys.stdin.read()
    """)
    assert line(holder) == "held"
    with pytest.raises(TimeoutError):
        acquire(folder, patience=0)


def test_a_stopped_holder_is_replaced_after_its_expiry(folder: Path, start: Start) -> None:
    holder = hold(start, expiry=0.5)
    assert line(holder) == "1"
    holder.send_signal(signal.SIGSTOP)
    with acquire(folder, patience=LIMIT) as lease:
        assert lease.token == 2


def test_a_replaced_sleeper_learns_who_took_over(folder: Path, start: Start) -> None:
    holder = hold(start, expiry=0.5)
    assert line(holder) == "1"
    holder.send_signal(signal.SIGSTOP)
    with acquire(folder, patience=LIMIT):
        holder.send_signal(signal.SIGCONT)
        assert re.fullmatch(
            rf"study thorax was taken over by pid {os.getpid()} on \S+ \(token 2\) while this driver slept; "
            r"what it has finished is kept; run the same command again",
            ask(holder),
        )


def test_a_replaced_sleeper_does_not_get_its_lease_back_when_the_next_one_ends(folder: Path, start: Start) -> None:
    holder = hold(start, expiry=0.5)
    assert line(holder) == "1"
    holder.send_signal(signal.SIGSTOP)
    acquire(folder, patience=LIMIT).release()
    holder.send_signal(signal.SIGCONT)
    assert "token 2" in ask(holder)


def test_a_replaced_sleeper_never_beats_again(folder: Path, start: Start) -> None:
    holder = hold(start, expiry=0.5)
    assert line(holder) == "1"
    holder.send_signal(signal.SIGSTOP)
    with acquire(folder, patience=LIMIT):
        holder.send_signal(signal.SIGCONT)
        ask(holder)
        time.sleep(0.5)  # five beats
        assert not beat_file(folder).exists()


def test_a_sleeper_that_nobody_replaced_goes_on(folder: Path, start: Start) -> None:
    holder = hold(start, expiry=0.5)
    assert line(holder) == "1"
    holder.send_signal(signal.SIGSTOP)
    time.sleep(1)
    holder.send_signal(signal.SIGCONT)
    assert ask(holder) == "held"


def test_a_waiting_driver_takes_over_when_the_holder_releases(folder: Path, start: Start) -> None:
    holder = start(
        "lease = acquire(folder)\nprint(1, flush=True)\nsys.stdin.readline()\nlease.release()\ntime.sleep(600)"
    )
    assert line(holder) == "1"
    words: list[str] = []

    def say(word: str) -> None:
        words.append(word)
        assert holder.stdin is not None
        holder.stdin.write("\n")
        holder.stdin.flush()

    with acquire(folder, patience=LIMIT, say=say) as lease:
        assert (lease.token, len(words)) == (2, 1)


def test_a_waiting_driver_says_once_who_holds_the_study(folder: Path, start: Start) -> None:
    holder = hold(start)
    assert line(holder) == "1"
    words: list[str] = []
    with pytest.raises(TimeoutError):
        acquire(folder, patience=1, say=words.append)
    assert len(words) == 1
    assert re.fullmatch(
        rf"study thorax is held by pid {holder.pid} on \S+ \(token 1\) since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC, "
        r"its last sign of life \d+ s ago; this driver waits for it to end",
        words[0],
    )


def test_a_free_study_is_taken_without_a_word(folder: Path) -> None:
    words: list[str] = []
    acquire(folder, say=words.append).release()
    assert words == []


def another_machines(folder: Path, beat_seconds: float) -> None:
    """Rewrites `lease.json` as if its holder ran under another kernel, whose locks do not reach this one."""
    path = folder / "lease.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"kernel": "other", "beat_seconds": beat_seconds}))


def test_another_machines_free_lock_proves_nothing_while_its_heart_beats(folder: Path, start: Start) -> None:
    kill_after_first_line = hold(start)
    assert line(kill_after_first_line) == "1"
    kill(kill_after_first_line)
    another_machines(folder, beat_seconds=100)
    with pytest.raises(TimeoutError):
        acquire(folder, patience=0)


def test_another_machines_free_lock_counts_once_its_heart_is_silent(folder: Path, start: Start) -> None:
    holder = hold(start)
    assert line(holder) == "1"
    kill(holder)
    another_machines(folder, beat_seconds=0.1)
    with acquire(folder, patience=LIMIT) as lease:
        assert lease.token == 2


@pytest.fixture
def beating(folder: Path, start: Start) -> "subprocess.Popen[str]":
    """Another machine's driver, whose lock is not seen here while its heart beats."""
    holder = hold(start)
    assert line(holder) == "1"
    kill(holder)
    another_machines(folder, beat_seconds=0.1)
    process = start("""
        print("beats", flush=True)
        while True:
            os.utime(folder / "holder-1.beat")
            time.sleep(0.1)
    """)
    assert line(process) == "beats"
    return process


def test_another_machines_driver_whose_lock_is_not_seen_is_refused(
    folder: Path, beating: "subprocess.Popen[str]"
) -> None:
    said: list[str] = []
    with pytest.raises(OSError, match=r"^study thorax is run by pid \d+ on .* \(token 1\), whose lock in .* not seen"):
        refuse_unshared(folder, said.append)
    assert len(said) == 1


def test_another_machines_driver_that_died_is_not_refused(
    folder: Path, beating: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeper.lease._STALE_SECONDS", 1.0)
    kill(beating)
    refuse_unshared(folder)


def test_another_machines_driver_whose_lock_is_seen_is_not_refused(folder: Path, start: Start) -> None:
    """The lock stays with the process whose lease another takes over."""
    assert line(hold(start)) == "1"
    another_machines(folder, beat_seconds=0.1)
    refuse_unshared(folder)


def test_a_driver_on_this_machine_is_not_refused(folder: Path, start: Start) -> None:
    assert line(hold(start)) == "1"
    refuse_unshared(folder)


def test_a_share_that_goes_away_for_long_loses_the_lease_and_says_why(folder: Path) -> None:
    with acquire(folder, beat_seconds=0.05, expiry_seconds=0.3) as lease:
        folder.rename(folder.with_name("away"))
        assert has_become(lambda: not lease.held)
        with pytest.raises(LeaseLostError, match=r"thorax could not be renewed in .*thorax for .*No such file"):
            lease.check()


def test_a_lease_once_lost_stays_lost_when_the_share_comes_back(folder: Path) -> None:
    with acquire(folder, beat_seconds=0.05, expiry_seconds=0.3) as lease:
        away = folder.rename(folder.with_name("away"))
        assert has_become(lambda: not lease.held)
        away.rename(folder)
        assert not lease.held


def test_a_share_that_comes_back_in_time_costs_nothing(folder: Path) -> None:
    with acquire(folder, beat_seconds=0.02) as lease:
        away = folder.rename(folder.with_name("away"))
        time.sleep(0.2)  # several beats fail
        assert lease.held
        away.rename(folder)
        before = beat_file(folder).stat().st_mtime_ns
        assert has_become(lambda: beat_file(folder).stat().st_mtime_ns > before)
        lease.check()


def test_a_heartbeat_that_cannot_be_written_loses_the_lease_though_the_rest_can_be_read(folder: Path) -> None:
    with acquire(folder, beat_seconds=0.05, expiry_seconds=0.3) as lease:
        beat_file(folder).unlink()
        assert has_become(lambda: not lease.held)


def test_a_damaged_lease_is_named_with_its_remedy(folder: Path) -> None:
    acquire(folder).release()
    (folder / "lease.json").write_text('{"token": 1')
    with pytest.raises(ValueError, match=r"lease\.json is not what a driver writes .*end all drivers and remove it"):
        acquire(folder)


def test_a_damaged_lease_is_lost_to_its_holder(folder: Path) -> None:
    with acquire(folder) as lease:
        (folder / "lease.json").write_text("[]")
        with pytest.raises(LeaseLostError, match="is not what a driver writes"):
            lease.check()


def test_acquirers_killed_at_any_moment_leave_a_study_that_can_be_acquired(folder: Path, start: Start) -> None:
    """Each acquires and releases as fast as it can, so that a kill may fall between any two steps."""
    draws = random.Random(20261121)
    busy = """
        print("on", flush=True)
        while True:
            with acquire(folder, say=lambda word: None) as lease:
                print(lease.token, flush=True)
    """
    newest = 0
    for _ in range(12):
        pair = [start(busy), start(busy)]
        for each in pair:
            assert line(each) == "on"
        time.sleep(draws.uniform(0, 0.1))
        for each in pair:
            each.kill()
        seen = [int(token) for each in pair for token in each.communicate(timeout=LIMIT)[0].split("\n")[:-1]]
        assert len(seen) == len(set(seen))
        assert min(seen, default=newest + 1) > newest
        with acquire(folder, patience=LIMIT) as lease:
            assert lease.token > max(seen, default=newest)
            newest = lease.token


def test_a_driver_killed_at_any_line_of_the_lease_leaves_a_study_that_can_be_acquired(
    folder: Path, start: Start
) -> None:
    """A child kills itself at its k-th line of lease.py, for every k until one gets through a whole lease."""
    lines = start("""
        import json, signal
        import sweeper.lease
        def die_at(count):
            def trace(frame, event, argument):
                nonlocal count
                if frame.f_code.co_filename != sweeper.lease.__file__:
                    return None
                count -= event == "line"
                if count < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return trace
            return trace
        count, status = 0, signal.SIGKILL
        while status:
            child = os.fork()
            if child == 0:
                sys.settrace(die_at(count))
                with acquire(folder):
                    pass
                os._exit(0)
            status = os.waitpid(child, 0)[1]
            file = folder / "lease.json"
            taken = json.loads(file.read_text())["token"] if file.exists() else 0
            with acquire(folder, patience=0) as lease:
                lease.check()
                print(taken, lease.token, flush=True)
            count += 1
    """)
    rounds = [tuple(map(int, row.split())) for row in lines.communicate(timeout=LIMIT)[0].splitlines()]
    assert lines.returncode == 0
    assert len(rounds) > 60  # lines of a whole lease
    assert all(mine == taken + 1 for taken, mine in rounds)
    assert all(taken >= before for (taken, _), (_, before) in zip(rounds[1:], rounds, strict=False))


FLOCK = {"x86_64": 73, "aarch64": 32}.get(platform.machine())
"""The number of the system call flock(2)."""


@pytest.mark.skipif(sys.platform != "linux" or FLOCK is None, reason="needs seccomp, by which a kernel refuses flock")
@pytest.mark.parametrize("code", ["ENOLCK", "ENOSYS"])
def test_a_file_system_without_locks_is_named_with_its_remedy(folder: Path, start: Start, code: str) -> None:
    refused = start(f"""
        import ctypes, errno, struct
        rules = b"".join(struct.pack("HBBI", *rule) for rule in [
            (0x20, 0, 0, 0),                                # load the number of the system call
            (0x15, 0, 1, {FLOCK}),                          # flock?
            (0x06, 0, 0, 0x00050000 | errno.{code}),        # yes: answer this error
            (0x06, 0, 0, 0x7FFF0000),                       # no: allow
        ])
        buffer = ctypes.create_string_buffer(rules)
        program = struct.pack("HxxxxxxP", 4, ctypes.addressof(buffer))
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.prctl(38, 1, 0, 0, 0) == 0              # no new privileges
        assert libc.prctl(22, 2, program, 0, 0) == 0, ctypes.get_errno()
        try:
            acquire(folder)
        except OSError as error:
            print(type(error).__name__, errno.errorcode[error.errno], error.strerror, flush=True)
    """)
    said = line(refused)
    assert said.startswith(f"OSError {code} {folder} lies on a file system without file locks: ")
    assert "SWEEPER_STORAGE" in said


def test_a_driver_stopped_in_the_critical_section_is_reported_and_not_waited_for_for_ever(
    folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeper.lease._LOCK_SECONDS", 0.3)
    stopped = start("""
        import filelock
        folder.mkdir()
        with filelock.FileLock(folder / "lease.lock"):
            print("in", flush=True)
            time.sleep(600)
    """)
    assert line(stopped) == "in"
    with pytest.raises(TimeoutError, match=r"lease\.lock was locked by another process for 0\.3 s"):
        acquire(folder)


def test_a_lease_left_by_an_error_is_free(folder: Path) -> None:
    with contextlib.suppress(ZeroDivisionError), acquire(folder):
        _ = 1 / 0
    lease: Lease = acquire(folder, patience=0)
    lease.release()
