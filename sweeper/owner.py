"""Whose study it is: who began it, where, from which file, with which cells; asked before another file uses its name.

A name belongs to a search space. It goes on without a question when the same file of the same user on the same machine
is started, however it was edited since, and when any file declares a cell that the study has: growing a study, or two
people who run one file, is no clash. Any other start is asked about.
"""

import json
import os
import socket
import uuid
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from sweeper import store
from sweeper.grid import StudyError
from sweeper.plan import Plan
from sweeper.site import Site
from sweeper.work import write_whole

_TAG = "sweeper.owner"
_SOME = 64
"""Cells whose keys are kept to know a study by before any of its cells has ended."""
_FILE = "study.id"


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Who began a study."""

    user: str
    host: str
    file: str
    """The study file's whole path on that host."""
    since: str
    """UTC, to the second."""
    cells: tuple[str, ...]
    """The first 64 keys, in their order as texts, of those declared when the study was started last."""
    storage: str
    """The storage folder that it was begun with, as that host names it."""
    folder_id: str
    """Content of the file in the study's own folder: another folder has none, or another one."""


def refuse_clash(planned: Plan, file: str | Path, site: Site, *, join: bool = False) -> None:
    """Raises StudyError when a sweep's name is another search space's, in a sentence that asks what is meant.

    Args:
        join: passes all the same, unless two folders would keep files of one study.
    """
    owner = _read(site, planned.sweep.name)
    if owner is None or planned.waits:
        return
    name, begun = planned.sweep.name, f"was begun by {owner.user} on {owner.host} at {owner.since}"
    mine = _folder_id(site, name)
    if mine != owner.folder_id and not (join and mine is None):
        remedy = ", or, if that folder is gone for good, add --join to the command" if mine is None else ""
        raise StudyError(
            f"study '{name}' {begun} with its files in another storage folder, {owner.storage}, and two folders cannot "
            f"keep one study: set SWEEPER_STORAGE to that folder{remedy}, or name this sweep anew"
        )
    known = {*owner.cells, *planned.records.finished, *planned.records.failed}
    same_file = (owner.user, owner.host, owner.file) == (_user(), socket.gethostname(), _path(file))
    if not (join or same_file or known & {cell.key for cell in planned.sweep.cells}):
        raise StudyError(
            f"study '{name}' {begun} from {owner.file}, and this file declares none of its cells: add --join to the "
            "command if they belong together, or name this sweep anew"
        )


def claim(planned: Plan, file: str | Path, site: Site, *, join: bool = False) -> None:
    """Enters a study as this file's, or leaves it to who began it; the caller holds the study's lease.

    Raises:
        StudyError: as `refuse_clash`.
    """
    refuse_clash(planned, file, site, join=join)
    name = planned.sweep.name
    owner = _read(site, name)
    mine = _folder_id(site, name) or _new_folder_id(site, name)
    if owner is None:
        owner = Owner(
            user=_user(),
            host=socket.gethostname(),
            file=_path(file),
            since=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
            cells=(),
            storage=str(site.storage),
            folder_id=mine,
        )
    keys = sorted(cell.key for cell in planned.sweep.cells)
    owner = replace(owner, cells=tuple(keys[:_SOME]), folder_id=mine)
    store.patiently(lambda: store.note(site, name, {_TAG: json.dumps(asdict(owner))}), site)


def _read(site: Site, study: str) -> Owner | None:
    """None where nobody has begun the study, or an older version did."""
    text = store.patiently(lambda: store.notes(site, study), site).get(_TAG)
    if text is None:
        return None
    plain = json.loads(text)
    return Owner(**plain | {"cells": tuple(plain["cells"])})


def _folder_id(site: Site, study: str) -> str | None:
    path = site.study(study) / _FILE
    return path.read_text() if path.exists() else None


def _new_folder_id(site: Site, study: str) -> str:
    made = uuid.uuid4().hex
    site.study(study).mkdir(parents=True, exist_ok=True)
    write_whole(site.study(study) / _FILE, made.encode())
    return made


def _path(file: str | Path) -> str:
    return str(Path(file).resolve())


def _user() -> str:
    """The name of this process's user, or the number where a container has no name for it."""
    return os.environ.get("LOGNAME") or os.environ.get("USER") or str(os.getuid())
