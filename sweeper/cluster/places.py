"""Whether every machine of a cluster sees the data, writes to the storage, sees its locks and has room for its cache.

Asked before the first cell: a folder that is not mounted on one machine of ten would fail every cell that comes there.
"""

import os
import socket
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeper import tally
from sweeper.locks import held, unseen
from sweeper.site import Site

_SECONDS_BETWEEN_LOOKS = 1.0
_ANSWER_SECONDS = 120.0
"""For a machine that is there: a task waits for the start of a process, at worst."""
_COUNTED = 5
"""Transactions of the other machine: in fewer it might meet nothing that it had read before."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one machine says of a site's places."""

    node: str
    """Its address."""
    host: str
    problems: tuple[str, ...]
    """One sentence each; none where all is well."""


def check_places(site: Site, *, gpus: bool, say: Callable[[str], None] = print) -> None:
    """Passes when every machine of the connected cluster has what a study needs; free where the driver's is alone.

    Where no machine offers a CPU yet, the first that comes is waited for. Those that come later are not looked at.

    Args:
        gpus: whether the machine that is asked for is to have a GPU.

    Raises:
        OSError: naming each machine and folder that is not as it must be.
    """
    if not _offer_cpus():
        say(f"no machine of the cluster offers a CPU yet: asking for one{' with a GPU' if gpus else ''}, and waiting")
        asked = ray.remote(num_cpus=1, num_gpus=int(gpus))(lambda: None).remote()  # the demand by which a cluster grows
        while not _offer_cpus():
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        ray.cancel(asked)
    elif len(_alive()) == 1:
        return
    wrong = [f"{each.host} ({each.node}): {problem}" for each in seen(site) for problem in each.problems]
    wrong = wrong or _of_record(site)
    if wrong:
        raise OSError("; ".join(wrong))


def seen(site: Site) -> list[Seen]:
    """What each machine of the connected cluster says, in order of their addresses.

    What the driver's data folder holds every machine must see there; where the driver has none, none is asked for.

    Raises:
        OSError: when the driver itself cannot write to the storage.
    """
    names = sorted(os.listdir(site.data)) if site.data.is_dir() else None
    sign = site.storage / f"seen-{token_hex(8)}"
    with ExitStack() as meanwhile:
        try:
            site.storage.mkdir(parents=True, exist_ok=True)
            meanwhile.enter_context(held(sign))
        except (OSError, sqlite3.Error) as error:
            raise OSError(f"{socket.gethostname()}: storage {site.storage} cannot be written: {error}") from error
        return _answers(partial(_look, site, sign, names))


def _answers(look: Callable[[], tuple[str, list[str]]]) -> list[Seen]:
    """What `look` finds on each machine; one that leaves meanwhile is left out."""
    task = ray.remote(num_cpus=0, max_retries=0)(lambda: look())
    addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in _alive()}
    asked = {node: task.options(scheduling_strategy=_there(node)).remote() for node in addresses}
    ready, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=_ANSWER_SECONDS)
    left = set(addresses) - {node["NodeID"] for node in _alive()}
    found = []
    for node in sorted(set(asked) - left, key=addresses.__getitem__):
        late = ("?", [f"does not answer in {_ANSWER_SECONDS:g} s: end it, or look at it"])
        host, problems = ray.get(asked[node]) if asked[node] in ready else late
        found.append(Seen(node=addresses[node], host=host, problems=tuple(problems)))
    return found


def _offer_cpus() -> bool:
    return any(node["Resources"].get("CPU", 0) >= 1 for node in _alive())


def _of_record(site: Site) -> list[str]:
    """What is wrong with a record in SQLite: this machine and one other count in one database, and none may be lost.

    One is enough, since a cluster's machines mount the storage alike; one that leaves meanwhile says nothing.
    """
    mine = ray.get_runtime_context().get_node_id()
    others = [node["NodeID"] for node in _alive() if node["NodeID"] != mine]
    if not others or not site.tracking.startswith("sqlite:"):
        return []
    database = site.storage / f"seen-{token_hex(8)}.db"
    try:
        why = _lost(database, others[0])
    except sqlite3.Error as error:
        why = str(error)
    finally:
        for path in (database, database.with_name(f"{database.name}-journal")):
            path.unlink(missing_ok=True)
    remedy = "have a server keep the record (MLFLOW_TRACKING_URI), or mount the storage without caches of its client"
    return [f"storage {site.storage} cannot keep SQLite's files for several machines ({why}): {remedy}"] if why else []


def _lost(database: Path, node: str) -> str | None:
    """What of the transactions that this machine and another make at once is lost, if any is."""
    tally.begin(database)
    task = ray.remote(num_cpus=0, max_retries=0)(lambda: _count(database))
    theirs = task.options(scheduling_strategy=_there(node)).remote()
    mine, end = 0, time.monotonic() + _ANSWER_SECONDS
    while not ray.wait([theirs], timeout=0)[0]:
        if time.monotonic() > end:
            return f"another machine does not count in {_ANSWER_SECONDS:g} s"
        mine += tally.count(database, 1)
    if node not in {each["NodeID"] for each in _alive()}:
        return None
    if problem := ray.get(theirs):
        return problem
    lost = mine + _COUNTED - tally.counted(database)
    return f"of {mine + _COUNTED} transactions of two machines {lost} are lost" if lost else None


def _count(database: Path) -> str | None:
    """Runs on the other machine: counts there, and says why it cannot."""
    try:
        tally.count(database, _COUNTED)
    except sqlite3.Error as error:
        return str(error)
    return None


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _there(node: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node, soft=False)


def _look(site: Site, sign: Path, names: Sequence[str] | None) -> tuple[str, list[str]]:
    """Runs on the machine that is looked at: its name, and what is wrong there."""
    wrong = [*_of_storage(site.storage, sign), *_of_data(site.data, names), *_of_cache(site.cache)]
    return socket.gethostname(), wrong


def _of_storage(storage: Path, sign: Path) -> Iterator[str]:
    """The driver's file must be there: a folder of the same name on the machine's own disk is not enough."""
    if not storage.is_dir():
        yield f"storage {storage} is not there: mount the folder that the head has there"
    elif not sign.exists():
        yield f"storage {storage} is not the folder that the head has there: mount the same one"
    elif problem := _unwritable(storage):
        yield f"storage {storage} cannot be written ({problem}): let this user write there"
    elif problem := _unlockable(sign):
        yield f"storage {storage} {problem}: mount it with locks that all machines share, or use another file system"


def _of_data(data: Path, names: Sequence[str] | None) -> Iterator[str]:
    if names is None:
        return
    if not data.is_dir():
        yield f"data {data} is not there: mount the folder that the head has there, or copy it"
    elif missing := sorted(set(names) - set(os.listdir(data))):
        yield f"data {data} lacks {', '.join(missing[:3])}{' and more' if missing[3:] else ''}, which the head has"


def _of_cache(cache: Path) -> Iterator[str]:
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        yield f"cache {cache} cannot be made ({error.strerror}): set SWEEPER_CACHE to a folder of its own disk"
        return
    if problem := _unwritable(cache):
        yield f"cache {cache} cannot be written ({problem}): let this user write there, or set SWEEPER_CACHE"


def _unlockable(sign: Path) -> str | None:
    """What is wrong with the locks there, if anything: what the head holds must not be had."""
    try:
        kinds = unseen(sign)
    except (OSError, sqlite3.Error) as error:
        return f"has no locks ({error})"
    return (
        f"keeps locks ({', '.join(kinds)}) to one machine, so that two could write one file at once" if kinds else None
    )


def _unwritable(folder: Path) -> str | None:
    """Why nothing can be written there, if so."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"1")
            file.flush()
    except OSError as error:
        return error.strerror
    return None
